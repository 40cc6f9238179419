"""schema.org Dataset, which search engines read out of pages, and Croissant, its form for machine learning.

Croissant 1.0 (MLCommons): files as cr:FileObject, rows as cr:RecordSet with a cr:Field for each column.
"""

from typing import Any

from api.catalog.columns import Column, columns
from api.catalog.entry import Distribution, Entry
from api.live.messages import rfc3339
from schemas.quantities import QUANTITIES

MIN_DESCRIPTION, MAX_DESCRIPTION = 50, 5000
"""What search engines take; a shorter description gets the attribution as well."""

CROISSANT_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context that the Croissant 1.0 specification prescribes."""

CROISSANT_TYPES = {
    "string": "sc:Text", "number": "sc:Float", "integer": "sc:Integer", "boolean": "sc:Boolean",
    "datetime": "sc:DateTime",
}  # fmt: skip


def dataset(entry: Entry) -> dict[str, Any]:
    """schema.org's Dataset."""
    made = {"@context": "https://schema.org/", "@type": "Dataset"} | _told(entry)
    made["distribution"] = [
        {"@type": "DataDownload", "name": one.title, "contentUrl": one.url, "encodingFormat": one.media_type}
        for one in entry.distributions()
        if one.is_download
    ]
    return made


def croissant(entry: Entry) -> dict[str, Any]:
    """Croissant 1.0. The dataset is live: its files grow, so they have no checksum of their own here."""
    files = [one for one in entry.distributions() if one.of and one.format == "CSV"]
    made = {"@context": CROISSANT_CONTEXT, "@type": "sc:Dataset"} | _told(entry)
    return made | {
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "isLiveDataset": True,
        "citeAs": f"{entry.dataset.attribution}. {entry.dataset.title}. {entry.page_url}",
        "datePublished": entry.dataset.privacy.reviewed,
        "version": "1.0.0",
        "distribution": [_file(one) for one in files],
        "recordSet": [_records(one) for one in files],
    }


def _told(entry: Entry) -> dict[str, Any]:
    of, facts = entry.dataset, entry.facts
    description = entry.description
    if len(description) < MIN_DESCRIPTION:
        description = f"{description} Source: {of.attribution}. Category: {of.category}."
    made: dict[str, Any] = {
        "@id": entry.page_url,
        "name": of.title,
        "description": description[:MAX_DESCRIPTION],
        "url": entry.page_url,
        "identifier": entry.page_url,
        "keywords": list(of.keywords),
        "license": entry.licence_url,
        "isAccessibleForFree": True,
        "creator": {"@type": "Organization", "name": of.publisher, "email": entry.email.removeprefix("mailto:")},
        "publisher": {"@type": "Organization", "name": of.publisher},
        "includedInDataCatalog": {"@type": "DataCatalog", "name": f"Open data of {entry.city.info.name}",
                                  "url": f"{entry.base_url}/catalog"},
        "variableMeasured": [
            {
                "@type": "PropertyValue",
                "name": name,
                "description": metric.description or QUANTITIES[name].name,
                "unitText": QUANTITIES[name].unit,
            }
            for name, metric in of.metrics.items()
        ],
    }  # fmt: skip
    if facts.modified_ms is not None:
        made["dateModified"] = rfc3339(facts.modified_ms)
    if facts.first_ms is not None:
        made["temporalCoverage"] = f"{rfc3339(facts.first_ms)}/.."
    if facts.bbox is not None:
        west, south, east, north = facts.bbox
        made["spatialCoverage"] = {
            "@type": "Place",
            "name": entry.city.info.name,
            "geo": {"@type": "GeoShape", "box": f"{south:g} {west:g} {north:g} {east:g}"},
        }
    return made


def _file(one: Distribution) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": one.name,
        "name": one.name,
        "description": one.description,
        "contentUrl": one.url,
        "encodingFormat": one.media_type,
    }


def _records(one: Distribution) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": one.of,
        "name": one.of,
        "description": f"One row for each of the {one.of}.",
        "field": [_field(one, column) for column in columns(one.of)],
    }


def _field(one: Distribution, column: Column) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{one.of}/{column.name}",
        "name": column.name,
        "description": column.description,
        "dataType": CROISSANT_TYPES[column.type],
        "source": {"fileObject": {"@id": one.name}, "extract": {"column": column.name}},
    }
