"""METR-LA: 207 loop detectors of Los Angeles freeways, mean speed in mph, five minutes, seven days.

`los_speed.csv` (lehaifeng/T-GCN, MIT): a header of detector ids, then 2,016 rows without a time. The T-GCN paper says
1 to 7 March 2012; the first row is taken as 2012-03-01 00:00 in Los Angeles standard time (UTC-08:00; daylight saving
began on the 11th). Stamp: the beginning of the five minutes, as detectors' bins are. Zeros were filled in by the
source; stuck runs are still there.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from deploy.replay.readers.reader import Reader
from schemas.readings import Origin, Readings, readings

FIRST = datetime.fromisoformat("2012-03-01T00:00:00-08:00")
STEP_S = 300
UNIT = "mph"


def parse(files: Sequence[Path], dataset: str) -> Readings:
    """All detectors' speeds; row after row, in the header's order."""
    batches = [_parse_one(path, dataset) for path in files]
    if len(batches) != 1:
        raise ValueError("one los_speed.csv at a time")
    return batches[0]


def _parse_one(path: Path, dataset: str) -> Readings:
    with path.open(encoding="utf-8") as file:
        ids = file.readline().strip().split(",")
        speeds = np.loadtxt(file, delimiter=",", ndmin=2)
    if speeds.shape[1] != len(ids):
        raise ValueError(f"{len(ids)} ids in the header, {speeds.shape[1]} columns")
    rows, columns = speeds.shape
    starts = int(FIRST.timestamp()) * 1000 + np.arange(rows) * (STEP_S * 1000)
    return readings(
        [(dataset, i) for i in ids], [("speed", UNIT)], received=0, origin=Origin.IMPORT, period_s=STEP_S,
        sensor=np.tile(np.arange(columns), rows), start=np.repeat(starts, columns), value=speeds.ravel(),
    )  # fmt: skip


READER = Reader("metr-la", "Los Angeles freeway loops, speed, 5 minutes", "traffic", ("los_speed*.csv",), parse)
