"""The notebooks in docs/ run against a real API, and keep the plot that they make."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from tests.api.city import NOW_MS
from tests.docs.notebooks import NOTEBOOKS, run
from tests.integration.history import DAY_MS, History, Reading
from tests.integration.test_api import database, history, window
from tests.integration.test_exports import app, served

__all__ = ["app", "database", "history"]

HOUR_MS = 3_600_000
PNG = b"\x89PNG\r\n"


@pytest.fixture
def stored(history: History) -> History:
    """Two days of both datasets, as the notebooks ask for them."""
    history.store(
        Reading("traffic", sensor, "speed", NOW_MS - 2 * DAY_MS + i * 300_000, value=60.0 + i % 30)
        for sensor in ("a", "b")
        for i in range(576)
    )
    history.publish(
        window("air1", NOW_MS - 2 * DAY_MS + hour * HOUR_MS, mean=10.0 + hour % 7)
        | {"dataset": "air-quality", "metric": "pm25", "coverage": 1.0, "complete": True}
        for hour in range(48)
    )
    return history


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore")
async def test_it_runs_and_plots(app: FastAPI, stored: History, path: Path) -> None:
    async with served(app) as url:
        made, names = await asyncio.to_thread(run, path, url)
    axes = names["axes"]
    drawn = [len(line.get_xdata()) for line in axes.get_lines()]
    assert max(drawn) >= 24, "a day of hours at least is drawn"
    assert axes.get_ylabel() and axes.get_title()
    assert len(names["hours"]) == 48
    assert [kind for cell in made["cells"] for kind in kinds(cell)].count("image/png") == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_keeps_what_it_showed(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), "run from top to bottom"
    assert not [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
    (picture,) = (o["data"]["image/png"] for o in cells[-1]["outputs"] if "image/png" in o["data"])
    assert base64.b64decode(picture).startswith(PNG)
    assert path.stat().st_size < 200_000


def test_there_is_one_with_polars_and_one_with_pandas() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["pandas", "polars"]


def kinds(cell: dict[str, Any]) -> list[str]:
    return [kind for output in cell.get("outputs", ()) for kind in output.get("data", ())]
