"""A bigger city than the recorded one: pure, seeded, with faults; the load generator of tests and benchmarks.

Each simulated sensor takes a real sensor's week (its column, moved by up to twenty minutes and scaled by up to 15 %),
adds noise, and now and then a fault. Everything is a function of (seed, number of the message): the same city again
is the same messages, and any part of it can be made without the rest.

    message j is of sensor j mod N, is sent at begin + (j + 1) / rate, and has K readings, the last stamped when it is
    sent, the others spread over the time since the sensor's message before
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deploy.replay.feed import topic_of
from deploy.replay.mqtt import Message
from deploy.replay.sample import Week, read_weeks
from schemas.city import CityInfo
from schemas.errors import CityfeedError
from schemas.registry import Registration, Series, Site
from schemas.units import conversion

SAMPLE_CITY = Path(__file__).parent.parent / "sample_city"
BLOCK = 4_096  # messages made at a time
EPISODE = 30  # messages of a sensor for which it is stuck or silent
SENTINEL = -999.0
CLOCK_JUMPS_MS = (2 * 3600 * 1000, -3600 * 1000)  # ahead: to the dead letters; behind: late
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(0x9E3779B97F4A7C15))


@dataclass(frozen=True)
class Profile:
    """What is simulated: a metric of a recorded week, in the unit that an unregistered sensor is taken to send."""

    dataset: str
    metric: str
    unit: str  # of the record
    noise: float  # standard deviation, share of the value


PROFILES: dict[str, Profile] = {
    "traffic": Profile("traffic", "speed", "mph", 0.03),
    "air": Profile("air-quality", "pm25", "ug/m3", 0.08),
}


class Fault(IntEnum):
    """What is wrong with a message."""

    NONE = 0
    SPIKE = 1
    STUCK = 2
    DROPOUT = 3
    SENTINEL = 4
    CLOCK = 5


@dataclass(frozen=True)
class Faults:
    """The share of messages, 0 to 1, with each fault."""

    spike: float = 0.0
    stuck: float = 0.0
    dropout: float = 0.0
    sentinel: float = 0.0
    clock: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Faults":
        """`none`, `some` (0.2 % of each), or `spike=0.01,stuck=0.001`. Raises `CityfeedError`."""
        names = [f.name for f in fields(cls)]
        if text in ("none", ""):
            return cls()
        if text == "some":
            return cls(**dict.fromkeys(names, 0.002))
        try:
            parts = [part.partition("=") for part in text.split(",")]
            shares = {name.strip(): float(share) for name, _, share in parts}
            if not all(name in names and 0 <= share <= 1 for name, share in shares.items()):
                raise ValueError
        except ValueError:
            raise CityfeedError(
                f"faults {text!r}: it takes none, some, or shares such as spike=0.01,stuck=0.001 of {', '.join(names)}"
            ) from None
        return cls(**shares)


@dataclass(frozen=True)
class Columns:
    """Messages as columns. `sensor` [n] index, `fault` [n], `t_ms` and `value` [n, K]."""

    sensor: npt.NDArray[np.int64]
    fault: npt.NDArray[np.uint8]
    t_ms: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Simulator:
    """`rate` messages a second of `sensors` sensors from `begin_ms` on, `per_message` readings in each.

    Raises `CityfeedError` where a sensor would send more than one reading a millisecond.
    """

    week: Week
    profile: Profile
    sensors: int
    rate: float
    begin_ms: int
    per_message: int = 1
    seed: int = 1
    faults: Faults = Faults()
    prefix: str = "cityfeed"
    name: str = "sim"

    def __post_init__(self) -> None:
        if self.sensors < 1 or self.rate <= 0 or self.per_message < 1:
            raise CityfeedError("sensors, rate and readings per message must be positive")
        if self.spacing_ms < 1:
            raise CityfeedError(
                f"{self.sensors} sensors at {self.rate:g} messages/s of {self.per_message} readings are more than one "
                f"reading a millisecond each; take at least {int(self.rate * self.per_message / 1000) + 1} sensors"
            )

    @cached_property
    def _topics(self) -> list[bytes]:
        return [topic_of(self.prefix, self.profile.dataset, self.sensor_id(i)) for i in range(self.sensors)]

    @property
    def spacing_ms(self) -> float:
        """The time between two readings of a sensor."""
        return self.sensors * 1000 / self.rate / self.per_message

    def sensor_id(self, i: int) -> str:
        """The id of sensor i."""
        return f"{self.name}-{i + 1:06}"

    def columns(self, first: int, n: int) -> Columns:
        """Messages first ... first + n - 1."""
        j = np.arange(first, first + n, dtype=np.int64)
        sensor, turn = j % self.sensors, j // self.sensors
        episode = turn // EPISODE
        ago = np.arange(self.per_message - 1, -1, -1) * self.spacing_ms
        t_ms = (self.begin_ms + (j[:, None] + 1) * (1000 / self.rate) - ago).astype(np.int64)
        episode_ms = self.begin_ms + ((episode * EPISODE * self.sensors + sensor) * (1000 / self.rate)).astype(np.int64)
        fault = self._fault_of(j, sensor, episode)
        stuck = fault == Fault.STUCK
        value = self._true(sensor[:, None], np.where(stuck[:, None], episode_ms[:, None], t_ms))
        number = j[:, None] * self.per_message + np.arange(self.per_message)
        noise = _bell(self.seed, number) * self.profile.noise
        value = np.where(stuck[:, None], value, value * (1 + noise))
        value = np.where(fault[:, None] == Fault.SPIKE, value * 4 + 60, value)
        value = np.where(fault[:, None] == Fault.SENTINEL, SENTINEL, value)
        jump = np.where(_uniform(self.seed, 9, j) < 0.5, *CLOCK_JUMPS_MS)
        t_ms = t_ms + np.where(fault == Fault.CLOCK, jump, 0)[:, None]
        return Columns(sensor, fault, t_ms, value.round(1))

    def blocks(self, first: int = 0) -> Iterator[list[Message | None]]:
        """Messages from `first` on without end, `BLOCK` at a time; None is one that a dropout swallows."""
        topics, metric = self._topics, self.profile.metric.encode()
        one = b'{"t":%d,"' + metric + b'":%.1f}'
        while True:
            columns = self.columns(first, BLOCK)
            times, values = columns.t_ms.ravel().tolist(), columns.value.ravel().tolist()
            rows = [one % pair for pair in zip(times, values, strict=True)]
            k = self.per_message
            if k > 1:
                rows = [b"[" + b",".join(rows[at : at + k]) + b"]" for at in range(0, len(rows), k)]
            senders = columns.sensor.tolist()
            made: list[Message | None] = [(topics[s], row) for s, row in zip(senders, rows, strict=True)]
            for i in np.flatnonzero(columns.fault == Fault.DROPOUT).tolist():
                made[i] = None
            yield made
            first += BLOCK

    def registrations(self, info: CityInfo) -> Iterator[Registration]:
        """Each sensor with a place in the city's bounding box, marked as demo; periods are the spacing."""
        west, south, east, north = info.bbox
        index = np.arange(self.sensors)
        lon = (west + _uniform(self.seed, 1, index) * (east - west)).round(5).tolist()
        lat = (south + _uniform(self.seed, 2, index) * (north - south)).round(5).tolist()
        period_s = max(1, round(self.spacing_ms / 1000))
        for i in range(self.sensors):
            site = Site(f"Simulated sensor {i + 1}", lon[i], lat[i], surroundings="simulated")
            series = {self.profile.metric: Series(None, period_s, period_s)}
            yield Registration(self.profile.dataset, self.sensor_id(i), site=site, series=series, demo=True)

    @cached_property
    def _record(self) -> npt.NDArray[np.float64]:
        """[step of the week, real sensor], canonical unit, gaps filled with the column's mean."""
        chosen = [i for i, (_, metric) in enumerate(self.week.columns) if metric == self.profile.metric]
        factor, offset = conversion(self.profile.metric, self.profile.unit) or (1.0, 0.0)
        values = self.week.values[:, chosen] * factor + offset
        return np.where(np.isnan(values), np.nanmean(values, axis=0), values)

    def _true(self, sensor: npt.NDArray[np.int64], t_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """The undisturbed value of sensors at moments."""
        steps, real = self._record.shape
        moved_ms = ((_uniform(self.seed, 3, sensor) - 0.5) * 2 * 20 * 60_000).astype(np.int64)
        scale = 0.85 + 0.3 * _uniform(self.seed, 4, sensor)
        column = (_uniform(self.seed, 5, sensor) * real).astype(np.int64)
        step = (t_ms + moved_ms - self.week.origin_ms) // self.week.step_ms % steps
        found: npt.NDArray[np.float64] = self._record[step, column] * scale
        return found

    def _fault_of(
        self, j: npt.NDArray[np.int64], sensor: npt.NDArray[np.int64], episode: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.uint8]:
        fault = np.zeros(len(j), np.uint8)
        whole_episode = episode * self.sensors + sensor
        for kind, share, number in (
            (Fault.SPIKE, self.faults.spike, j),
            (Fault.SENTINEL, self.faults.sentinel, j),
            (Fault.CLOCK, self.faults.clock, j),
            (Fault.STUCK, self.faults.stuck, whole_episode),
            (Fault.DROPOUT, self.faults.dropout, whole_episode),
        ):
            if share:
                fault[_uniform(self.seed, 16 + kind, number) < share] = kind
        return fault


def sample_week(profile: Profile, city_dir: Path = SAMPLE_CITY) -> Week:
    """The recorded week that a profile is made from. Raises `CityfeedError`."""
    for week in read_weeks(city_dir):
        if week.dataset == profile.dataset:
            return week
    raise CityfeedError(f"{city_dir}/data/weeks.toml has no week of {profile.dataset}")


def _bell(seed: int, number: Any) -> npt.NDArray[np.float64]:
    """Noise with mean 0 and standard deviation 1: the sum of two uniform numbers, scaled."""
    return (_uniform(seed, 6, number) + _uniform(seed, 7, number) - 1.0) * 6**0.5


def _uniform(seed: int, purpose: int, number: Any) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1), a function of their arguments (splitmix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        x = np.asarray(number).astype(np.uint64) + np.uint64((seed * 1_000_003 + purpose) % 2**32) * _MIX[2]
        x = (x ^ (x >> np.uint64(30))) * _MIX[0]
        x = (x + _MIX[2]) ^ (x >> np.uint64(27))
        x = x * _MIX[1]
        return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) / 2**53
