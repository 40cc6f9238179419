"""A Frictionless data package of a dataset: its files with the schema of their columns (specs.frictionlessdata.io)."""

import re
from typing import Any

import msgspec

from api.catalog.columns import Column, columns, columns_of
from api.catalog.entry import NOUNS, Distribution, Entry
from api.formats import FORMATS

PROFILE = "tabular-data-package"
LICENCE_ID = re.compile(r"[-a-zA-Z0-9._]+")
"""What the profile of data packages takes as the name of a licence."""


def datapackage(entry: Entry) -> dict[str, Any]:
    """datapackage.json."""
    files = [_resource(one) for one in entry.distributions() if one.of and one.format == "CSV"]
    return _about(entry) | {"resources": files}


def _about(entry: Entry) -> dict[str, Any]:
    dataset = entry.dataset
    return {
        "profile": PROFILE,
        "name": dataset.id,
        "id": entry.page_url,
        "title": dataset.title,
        "description": entry.description,
        "homepage": entry.page_url,
        **({"keywords": list(dataset.keywords)} if dataset.keywords else {}),  # the profile takes no empty list
        "licenses": [_licence(entry)],
        "contributors": [{"title": dataset.publisher, "role": "publisher"}],
        "sources": [{"title": dataset.attribution, "email": entry.email.removeprefix("mailto:")}],
    }


def _licence(entry: Entry) -> dict[str, str]:
    """A name is an id by the profile; a licence that is a title or an address is told as such."""
    licence = entry.dataset.licence
    return {"name" if LICENCE_ID.fullmatch(licence) else "title": licence, "path": entry.licence_url}


def of_export(
    entry: Entry, of: str, kind: type[msgspec.Struct], form: str, url: str, size: int | None, sha256: str | None
) -> dict[str, Any]:
    """datapackage.json of an export: one file, of rows of a kind, at its own address; `size` in bytes and the digest
    once they are known.
    """
    format, name = FORMATS[form], f"{entry.dataset.id}-{of}"
    resource: dict[str, Any] = {
        "profile": "tabular-data-resource" if form == "csv" else "data-resource",
        "name": name, "title": f"{entry.dataset.title}: {NOUNS[of]}", "path": f"{url}?after_row=0", "scheme": "http",
        "format": format.suffix, "mediatype": format.media_type.partition(";")[0], "encoding": "utf-8",
        "schema": _schema(columns_of(of, kind)),
    }  # fmt: skip
    if size is not None and sha256 is not None:
        resource |= {"bytes": size, "hash": f"sha256:{sha256}"}
    profile = PROFILE if form == "csv" else "data-package"
    return _about(entry) | {"profile": profile, "name": name, "id": url, "resources": [resource]}


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
        "schema": _schema(columns(one.of)),
    }


def _schema(found: list[Column]) -> dict[str, Any]:
    return {"fields": [_field(column) for column in found], "missingValues": [""]}


def _field(column: Column) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": column.name, "type": column.type, "description": column.description, "source": column.source,
        "privacy": column.privacy,
    }  # fmt: skip
    if column.unit:
        made["unit"] = column.unit
    if column.type == "datetime":
        made["format"] = "%Y-%m-%dT%H:%M:%S.%fZ"
    if not column.nullable:
        made["constraints"] = {"required": True}
    return made
