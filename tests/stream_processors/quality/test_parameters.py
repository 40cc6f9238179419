"""The rules' parameters as columns."""

import pytest

from schemas.datasets import Metric
from schemas.quality import FlatLine, TimeGap
from stream_processors.quality.parameters import NO_LIMIT_MS, parameters

METRIC = Metric(cadence_s=60, flat_line=FlatLine(0.05, 3600, 14_400), time_gap=TimeGap(900, 10_800))


@pytest.mark.parametrize(
    ("span_s", "flat", "gap_ms"),
    [
        (60, (60, 240), (900_000, 10_800_000)),
        (900, (4, 16), (NO_LIMIT_MS, 10_800_000)),
        (3600, (0, 4), (NO_LIMIT_MS, 10_800_000)),
        (14_400, (0, 0), (NO_LIMIT_MS, NO_LIMIT_MS)),
    ],
)
def test_a_sensor_that_sends_seldom_is_not_flagged_for_it(
    span_s: int, flat: tuple[int, int], gap_ms: tuple[int, int]
) -> None:
    """A dataset's limits are for its own cadence; a series with another one keeps those that can be meant."""
    (row,) = parameters(METRIC, span_s)
    assert (row["flat_suspect_n"], row["flat_fail_n"]) == flat
    assert (row["gap_suspect_ms"], row["gap_fail_ms"]) == gap_ms
