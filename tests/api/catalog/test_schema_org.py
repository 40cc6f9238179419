"""schema.org and Croissant, the latter as the library of its makers reads it."""

import json
import logging
from pathlib import Path

import mlcroissant
import pytest

from api.catalog import schema_org
from api.catalog.columns import columns
from tests.api.catalog.made import BASE_URL, entry


def test_search_engines_find_what_they_ask_for() -> None:
    made = schema_org.dataset(entry())
    assert (made["@context"], made["@type"]) == ("https://schema.org/", "Dataset")
    assert 50 <= len(made["description"]) <= 5000
    assert {one["contentUrl"].startswith(f"{BASE_URL}/v1/air-quality/") for one in made["distribution"]} == {True}
    assert {one["name"] for one in made["variableMeasured"]} >= {"pm25", "o3", "temperature"}
    assert made["temporalCoverage"] == "2025-10-19T00:00:00.000Z/.."
    assert made["spatialCoverage"]["geo"]["box"] == "33.9 -118.5 34.3 -118.1"


def test_a_short_description_is_lengthened() -> None:
    made = schema_org.dataset(entry(description="Air."))
    assert made["description"].startswith("Air. Source: ") and len(made["description"]) >= 50


@pytest.mark.filterwarnings("ignore")
def test_croissant_is_read_by_mlcroissant(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "croissant.json"
    file.write_text(json.dumps(schema_org.croissant(entry())))
    with caplog.at_level(logging.WARNING):
        metadata = mlcroissant.Dataset(str(file)).metadata
    assert not metadata.ctx.issues.errors, metadata.ctx.issues.report()
    assert {record_set.uuid for record_set in metadata.record_sets} == {"readings", "windows", "index"}
    (readings,) = (one for one in metadata.record_sets if one.uuid == "readings")
    assert [field.name for field in readings.fields] == [column.name for column in columns("readings")]


@pytest.mark.filterwarnings("ignore")
def test_mlcroissant_would_see_a_mistake(tmp_path: Path) -> None:
    made = schema_org.croissant(entry())
    made["recordSet"][0]["field"][0]["source"]["fileObject"]["@id"] = "no-such-file"
    file = tmp_path / "croissant.json"
    file.write_text(json.dumps(made))
    with pytest.raises(mlcroissant.ValidationError):
        mlcroissant.Dataset(str(file))
