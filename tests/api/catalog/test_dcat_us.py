"""DCAT-US against its schemas; a document that a schema does not match at all would prove nothing."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import referencing
import referencing.jsonschema

from api.catalog import dcat_us
from tests.api.catalog.made import BASE_URL, entries

DATA = Path(__file__).parent / "data"


def schema_1_1() -> jsonschema.Draft4Validator:
    """The published schemas: draft 4, one referring to the other by its file's name."""
    catalog, dataset = (json.loads((DATA / name).read_text()) for name in ("catalog.json", "dataset-non-federal.json"))
    resource = referencing.jsonschema.DRAFT4.create_resource(dataset)
    folder = catalog["id"].rpartition("/")[0]
    registry: Any = referencing.Registry().with_resource(f"{folder}/dataset-non-federal.json", resource)
    return jsonschema.Draft4Validator(catalog, registry=registry, format_checker=jsonschema.FormatChecker())


def test_dcat_us_1_1() -> None:
    document = dcat_us.data_json(entries(), BASE_URL)
    schema_1_1().validate(document)
    full, empty = document["dataset"]
    assert full["temporal"] == "2025-10-19T00:00:00Z/2026-11-22T23:59:00Z"
    assert (full["modified"], empty["modified"]) == ("2026-11-22T23:59:30.000Z", "2026-11-01")
    assert "temporal" not in empty and "spatial" not in empty
    assert {one["mediaType"] for one in full["distribution"] if "downloadURL" in one} == {
        "text/csv", "application/vnd.apache.parquet", "application/geo+json",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [("accrualPeriodicity", "every minute"), ("temporal", "2025-01-01T00:00:00Z/.."), ("keyword", []), ("title", None),
     ("contactPoint", {"fn": "City", "hasEmail": "city@example"}), ("accessLevel", "open")],
)  # fmt: skip
def test_the_schema_would_see_a_mistake(field: str, value: object) -> None:
    document = dcat_us.data_json(entries(), BASE_URL)
    document["dataset"][0][field] = value
    with pytest.raises(jsonschema.ValidationError):
        schema_1_1().validate(document)


def test_dcat_us_3() -> None:
    validator = jsonschema.Draft202012Validator(
        json.loads((DATA / "dcat_us_3.json").read_text()), format_checker=jsonschema.FormatChecker()
    )
    document = dcat_us.dcat_us_3(entries(), BASE_URL, "Town")
    validator.validate(document)
    assert [dataset["identifier"] for dataset in document["dataset"]] == [
        f"{BASE_URL}/catalog/air-quality", f"{BASE_URL}/catalog/traffic",
    ]  # fmt: skip
    del document["dataset"][0]["contactPoint"]
    with pytest.raises(jsonschema.ValidationError, match="contactPoint"):
        validator.validate(document)
