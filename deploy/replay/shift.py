"""How a recorded week becomes the present: pure functions of the moment, so that a restart changes nothing.

The week repeats for ever from its fixed origin: value(moment) = week[(moment - origin) mod week]. The shift is thus a
whole number of weeks, so weekday and hour of the day are those of the record, and a moment always has the same value.
(The week is one of UTC: where the record is of winter, a wall clock in summer is an hour on.)

In the live play the sensors are spread over their interval: a reading of [start, start + step) is published at
start + step + phase * step, with a phase in [0, 1) that hangs on the sensor's name alone. So something moves every
second or two, and no stamp is ever in the future.

      bin k             bin k+1           bin k+2
    |-----------------|-----------------|-----------------|
                            ^ sensor A publishes k   ^ A publishes k+1
                       ^ sensor B publishes k   ^ B publishes k+1
"""

import zlib

WEEK_MS = 7 * 24 * 3600 * 1000


def whole_weeks(last_ms: int, now_ms: int) -> int:
    """The shift in ms, a whole number of weeks, that brings `last_ms` as near to `now_ms` as goes, not beyond."""
    return (now_ms - last_ms) // WEEK_MS * WEEK_MS


def phase_of(dataset: str, sensor: str) -> float:
    """The sensor's place in its interval, in [0, 1); the same for ever."""
    return zlib.crc32(f"{sensor}/{dataset}".encode()) / 2**32


def published_ms(origin_ms: int, step_ms: int, phase: float, k: int) -> int:
    """When the reading of bin k (counted from the origin) is published."""
    return origin_ms + (k + 1) * step_ms + int(phase * step_ms)


def newest_bin(origin_ms: int, step_ms: int, phase: float, now_ms: int) -> int:
    """The newest bin that is published at `now_ms` or before; -1 and less are bins before the origin."""
    return (now_ms - origin_ms - int(phase * step_ms)) // step_ms - 1
