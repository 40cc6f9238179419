"""DCAT-US against its schemas; a document that a schema does not match at all would prove nothing."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import referencing
import referencing.jsonschema

from api.catalog import dcat_us
from api.catalog.entry import Entry
from tests.api.catalog.made import BASE_URL, FACTS, city, entries, entry

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


def schema_3() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(
        json.loads((DATA / "dcat_us_3.json").read_text()), format_checker=jsonschema.FormatChecker()
    )


def test_dcat_us_3() -> None:
    validator = schema_3()
    document = dcat_us.dcat_us_3(entries(), BASE_URL, "Town")
    validator.validate(document)
    assert [dataset["identifier"] for dataset in document["dataset"]] == [
        f"{BASE_URL}/catalog/air-quality", f"{BASE_URL}/catalog/traffic",
    ]  # fmt: skip
    del document["dataset"][0]["contactPoint"]
    with pytest.raises(jsonschema.ValidationError, match="contactPoint"):
        validator.validate(document)


def far() -> Entry:
    """Of a city with languages that have a region, or no code of two letters."""
    known = city()
    info = msgspec.structs.replace(known.info, languages=("pt-BR", "pt", "fil"))
    return Entry(known.datasets["air-quality"], FACTS, msgspec.structs.replace(known, info=info), BASE_URL)


@pytest.mark.parametrize(
    "of",
    [
        [],
        [entry(title='"Köln"\n<b>', publisher="市", attribution="Whose it is " * 40)],
        [entry(licence="CC BY 4.0"), entry("traffic", licence="https://www.govdata.de/dl-de/by-2-0")],
        [entry(update_frequency="P1W")],
        [entry(contact="open+data@city.example")],
        [entry(keywords=())],
        [far()],
    ],
    ids=["nothing", "odd-texts", "other-licences", "weeks", "plus", "no-keywords", "languages"],
)
def test_both_hold_whatever_a_city_says(of: list[Entry]) -> None:
    schema_1_1().validate(dcat_us.data_json(of, BASE_URL))
    schema_3().validate(dcat_us.dcat_us_3(of, BASE_URL, "Town"))


def test_long_rights_are_cut_for_1_1_and_whole_in_3() -> None:
    of = [entry(attribution="Whose it is " * 40)]
    short = dcat_us.data_json(of, BASE_URL)["dataset"][0]["rights"]
    whole = dcat_us.dcat_us_3(of, BASE_URL, "Town")["dataset"][0]["rights"][0]
    assert len(short) <= 255 and short.endswith("…") and whole.startswith(short[:-1]) and len(whole) > 255


def test_languages_are_told_as_each_version_takes_them() -> None:
    assert dcat_us.dcat_us_3([far()], BASE_URL, "Town")["dataset"][0]["language"] == ["pt"]
    assert dcat_us.data_json([far()], BASE_URL)["dataset"][0]["language"] == ["pt-BR", "pt", "fil"]
