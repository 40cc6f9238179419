"""How long to wait before the next try, by what ended the last one.

    40xx    the server refuses this client: stop
    41xx    it has too much to do: back off, 5 s and doubling, at most 5 minutes
    42xx    come back now: when `going_away` said, else at once; a second time in vain begins to wait
    other   the network: 0.5 s and doubling, at most 30 s

Waits are drawn between half of it and all of it, so that those who lost their connection together do not come
back together.
"""

from collections.abc import Callable
from random import random as _random

BACK_OFF_S = (5.0, 300.0)
NETWORK_S = (0.5, 30.0)
AT_ONCE_S = 0.25
"""Clients that all heard 42xx without a `going_away` spread over this long."""

Wait = Callable[[int | None, int, int | None], float | None]


def wait_s(
    code: int | None, failures: int, going_away_ms: int | None = None, random: Callable[[], float] = _random
) -> float | None:
    """Seconds to wait; None means stop. `code` is the close code, None where there was no connection at all.

    `failures` counts the tries in vain before this one: those that ended before the server gave anything.
    """
    if code is not None and 4000 <= code < 4100:
        return None
    if going_away_ms is not None and failures == 0:
        return going_away_ms / 1000  # the server has drawn it already
    if code is not None and 4200 <= code < 4300 and failures == 0:
        return AT_ONCE_S * random()
    first, most = BACK_OFF_S if code is not None and 4100 <= code < 4200 else NETWORK_S
    return min(most, first * 2.0 ** min(failures, 30)) * (0.5 + 0.5 * random())
