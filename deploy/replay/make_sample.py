"""Make `deploy/sample_city/data` from the originals: `python -m deploy.replay.make_sample ORIGINALS [CITY]`.

ORIGINALS holds `metr-la-week` and `epa-sensortoolkit-rtp`, each as downloaded, with the SOURCE.txt that names
repository, commit and licence. The same originals give the same bytes after decompression.
"""

import gzip
import sys
from datetime import datetime
from pathlib import Path

import numpy as np

from deploy.replay.readers import READERS
from deploy.replay.shift import WEEK_MS
from schemas.errors import CityfeedError

LOOPS = "metr-la-week/los_speed.csv"
AIR = "epa-sensortoolkit-rtp"
# Monday to Sunday, the best filled week; the sensors' own zone is UTC-05:00.
AIR_MONDAY = datetime.fromisoformat("2019-08-05T00:00:00-05:00")
AIR_STEP_MS = 60_000
AIR_DECIMALS = {"no2": 1, "o3": 1, "pm25": 1, "temperature": 2, "humidity": 1, "dewpoint": 1}  # as in the source


def loops_csv(originals: Path) -> str:
    """The speeds, digit for digit as the source has them; only the header changes."""
    header, _, rest = (originals / LOOPS).read_text("utf-8").replace("\r\n", "\n").partition("\n")
    return ",".join(f"{sensor}/speed" for sensor in header.strip().split(",")) + "\n" + rest


def air_csv(originals: Path) -> str:
    """One row a minute, a column for each sensor and metric; what the source has no value for is empty."""
    first_ms = int(AIR_MONDAY.timestamp()) * 1000
    cells: dict[str, list[str]] = {}
    for batch in READERS["sensortoolkit"].read(originals / AIR):
        batch = batch.take((batch.start >= first_ms) & (batch.start < first_ms + WEEK_MS))
        minutes = ((batch.start - first_ms) // AIR_STEP_MS).tolist()
        rows = zip(batch.sensor.tolist(), batch.metric.tolist(), minutes, batch.value.tolist(), strict=True)
        for sensor, metric, minute, value in rows:
            name = batch.metrics[metric][0]
            column = cells.setdefault(f"{batch.sensors[sensor][1]}/{name}", [""] * (WEEK_MS // AIR_STEP_MS))
            column[minute] = np.format_float_positional(value, precision=AIR_DECIMALS[name], trim="-")
    names = sorted(cells)
    lines = [",".join(names)] + [",".join(row) for row in zip(*(cells[name] for name in names), strict=True)]
    return "\n".join(lines) + "\n"


def write_gz(path: Path, text: str) -> None:
    """The same text gives the same file: no time, no name in it."""
    with path.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write(text.encode())


def main(arguments: list[str]) -> int:
    """Write the two files; 0, or 2 with a line that says what is missing."""
    if len(arguments) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    originals = Path(arguments[0])
    city = Path(arguments[1]) if len(arguments) == 2 else Path(__file__).parent.parent / "sample_city"
    try:
        (city / "data").mkdir(parents=True, exist_ok=True)
        write_gz(city / "data" / "traffic.csv.gz", loops_csv(originals))
        write_gz(city / "data" / "air-quality.csv.gz", air_csv(originals))
    except (OSError, CityfeedError) as e:
        print(f"make_sample: {e}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
