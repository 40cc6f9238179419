"""The dashboards for Grafana: every panel's question is asked of a real API, and has the columns that the panel takes.

Grafana itself and its Infinity plugin are not run here.
"""

import asyncio
import csv
import io
import json
import re
from typing import Any

import httpx
import pytest
import yaml
from fastapi import FastAPI

from api.times import rfc3339
from deploy.local.tools import ROOT
from tests.api.city import NOW_MS
from tests.docs.test_notebooks import stored
from tests.integration.history import DAY_MS
from tests.integration.test_api import database, history
from tests.integration.test_exports import app, served

__all__ = ["app", "database", "history", "stored"]

GRAFANA = ROOT / "deploy" / "monitoring" / "grafana"
PLUGIN = "yesoreyeram-infinity-datasource"
BOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
ISO = {"${__from:date:iso}": rfc3339(NOW_MS - 2 * DAY_MS), "${__to:date:iso}": rfc3339(NOW_MS)}


def board() -> Any:
    (path,) = BOARDS
    return json.loads(path.read_text("utf-8"))


def targets() -> list[Any]:
    return [pytest.param(t, id=panel["title"]) for panel in board()["panels"] for t in panel["targets"]]


def asked(url: str) -> str:
    """The question as Grafana asks it, with the time range put in."""
    for variable, moment in ISO.items():
        url = url.replace(variable, moment)
    assert "$" not in url, "a variable that nothing replaces"
    return url


@pytest.mark.parametrize("target", targets())
async def test_a_panels_question_has_its_columns(app: FastAPI, stored: object, target: Any) -> None:
    async with served(app) as url, httpx.AsyncClient() as client:
        answer = await client.get(url + asked(target["url"]))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/csv") and target["type"] == "csv"
    header = next(csv.reader(io.StringIO(answer.text)))
    assert {column["selector"] for column in target["columns"]} <= set(header)


async def test_there_is_something_to_see(app: FastAPI, stored: object) -> None:
    (hours,) = (t.values[0] for t in targets() if "metric=pm25" in t.values[0]["url"])
    async with served(app) as url:
        answer = await asyncio.to_thread(httpx.get, url + asked(hours["url"]))
    assert len(list(csv.DictReader(io.StringIO(answer.text)))) == 48


def test_the_data_source_is_the_one_that_the_panels_name() -> None:
    (source,) = yaml.safe_load((GRAFANA / "datasources" / "cityfeed.yaml").read_text())["datasources"]
    assert (source["type"], source["url"]) == (PLUGIN, "$CITYFEED_URL")
    named = {(one["datasource"]["type"], one["datasource"]["uid"]) for one in board()["panels"]}
    named |= {(t.values[0]["datasource"]["type"], t.values[0]["datasource"]["uid"]) for t in targets()}
    assert named == {(PLUGIN, source["uid"])}


def test_dashboards_are_read_from_where_compose_puts_them() -> None:
    (provider,) = yaml.safe_load((GRAFANA / "dashboards" / "cityfeed.yaml").read_text())["providers"]
    grafana = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
    (mounted,) = (volume for volume in grafana["volumes"] if volume.startswith("./"))
    assert mounted == "./deploy/monitoring/grafana:/etc/grafana/provisioning:ro"
    assert provider["options"]["path"] == "/etc/grafana/provisioning/dashboards"
    assert PLUGIN in grafana["environment"]["GF_PLUGINS_PREINSTALL"]
    assert grafana["environment"]["CITYFEED_URL"] == "http://api:8000"


def test_panels_do_not_overlap() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in board()["panels"]:
        at = panel["gridPos"]
        assert re.fullmatch(r"[\w ().:,]+", panel["title"]) and at["x"] + at["w"] <= 24
        mine = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & mine
        cells |= mine
