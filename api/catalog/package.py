"""A Frictionless data package of a dataset: its files with the schema of their columns (specs.frictionlessdata.io)."""

from typing import Any

from api.catalog.columns import Column, columns
from api.catalog.entry import Distribution, Entry

PROFILE = "tabular-data-package"


def datapackage(entry: Entry) -> dict[str, Any]:
    """datapackage.json."""
    dataset = entry.dataset
    return {
        "profile": PROFILE,
        "name": dataset.id,
        "id": entry.page_url,
        "title": dataset.title,
        "description": entry.description,
        "homepage": entry.page_url,
        "keywords": list(dataset.keywords),
        "licenses": [{"name": dataset.licence, "path": entry.licence_url}],
        "contributors": [{"title": dataset.publisher, "role": "publisher"}],
        "sources": [{"title": dataset.attribution, "email": entry.email.removeprefix("mailto:")}],
        "resources": [_resource(one) for one in entry.distributions() if one.of and one.format == "CSV"],
    }


def _resource(one: Distribution) -> dict[str, Any]:
    return {
        "profile": "tabular-data-resource",
        "name": one.of,
        "title": one.title,
        "path": one.url,
        "scheme": "http",
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8",
        "schema": {"fields": [_field(column) for column in columns(one.of)], "missingValues": [""]},
    }


def _field(column: Column) -> dict[str, Any]:
    made: dict[str, Any] = {"name": column.name, "type": column.type, "description": column.description}
    if column.type == "datetime":
        made["format"] = "%Y-%m-%dT%H:%M:%S.%fZ"
    if not column.nullable:
        made["constraints"] = {"required": True}
    return made
