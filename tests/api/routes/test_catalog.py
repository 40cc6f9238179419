"""The catalog's addresses, without servers: what is declared is served with the database down."""

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from tests.api.city import NOW_MS, app_without_servers, client_of, hear, heard


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    app = app_without_servers(tmp_path)
    hear(app, heard("traffic", "moved", "speed", "km/h", [NOW_MS - 400_000], value=[50.0]))
    return app


async def get(app: FastAPI, path: str, **headers: str) -> Any:
    async with client_of(app) as client:
        return await client.get(path, headers=headers)


@pytest.mark.parametrize(
    ("path", "media_type", "said"),
    [
        ("/data.json", "application/json", '"identifier":"http://city.example/catalog/traffic"'),
        ("/dcat-us-3.json", "application/json", '"DCAT-US 3.0"'),
        ("/catalog.jsonld", "application/ld+json", '"dcat:Catalog"'),
        ("/catalog.ttl", "text/turtle; charset=utf-8", "a dcat:Dataset"),
        ("/catalog/changes.atom", "application/atom+xml; charset=utf-8", "<feed"),
        ("/catalog/traffic/schema.org.jsonld", "application/ld+json", '"Dataset"'),
        ("/catalog/traffic/croissant.json", "application/ld+json", "croissant/1.0"),
        ("/catalog/traffic/datapackage.json", "application/json", "tabular-data-package"),
        ("/catalog", "text/html; charset=utf-8", "2 of 2 datasets"),
        ("/catalog?q=ozone", "text/html; charset=utf-8", "1 of 2 datasets"),
        ("/catalog/traffic", "text/html; charset=utf-8", "Traffic on roads"),
        ("/catalog/catalog.css", "text/css; charset=utf-8", "body"),
    ],
)  # fmt: skip
async def test_documents(app: FastAPI, path: str, media_type: str, said: str) -> None:
    got = await get(app, path)
    assert (got.status_code, got.headers["content-type"]) == (200, media_type)
    assert said in got.text


async def test_what_has_not_changed_is_304(app: FastAPI) -> None:
    for path in ("/data.json", "/catalog.ttl", "/catalog.jsonld"):
        tag = (await get(app, path)).headers["etag"]
        assert (await get(app, path)).headers["etag"] == tag
        for given in (tag, f'"other", {tag}', "*"):
            assert (await get(app, path, **{"if-none-match": given})).status_code == 304


async def test_a_dataset_that_is_not_there_is_a_problem(app: FastAPI) -> None:
    got = await get(app, "/catalog/trafic/datapackage.json")
    assert (got.status_code, got.json()["type"]) == (404, "/problems/unknown-dataset")
    assert "traffic" in got.json()["detail"]


async def test_the_schedule_says_what_is_overdue(app: FastAPI) -> None:
    air, traffic = (await get(app, "/v1/datasets/schedule")).json()["data"]
    assert (air["dataset"], air["last_run"], air["next_due"], air["overdue"]) == ("air-quality", None, None, True)
    assert traffic == {
        "dataset": "traffic", "title": "Traffic on roads", "update_frequency": "PT5M", "measured_interval_s": None,
        "automated": True, "last_run": "2026-11-22T23:58:21.000Z", "next_due": "2026-11-23T00:03:21.000Z",
        "overdue": False, "quality_score": 100.0,
    }  # fmt: skip
