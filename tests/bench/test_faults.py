"""The targets of the table of faults hold on a part of the week (the whole week is `make bench`)."""

import pytest

from tests.bench import faults
from tests.bench.quality import PRECISION, RECALL, TARGETS


@pytest.mark.parametrize(("dataset", "steps", "columns"), [("air-quality", 1800, 12), ("traffic", 600, 40)])
def test_spikes_stuck_values_sentinels_and_clock_jumps_are_found(dataset: str, steps: int, columns: int) -> None:
    found = {line.kind: line for line in faults.measure(dataset, steps, columns)}
    for kind in TARGETS:
        assert found[kind].n > 0
        assert found[kind].recall >= RECALL and found[kind].precision >= PRECISION, found[kind]
