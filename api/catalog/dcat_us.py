"""DCAT-US: version 1.1 (the non-federal profile of Project Open Data) and version 3.0.

Shapes are those of the JSON Schemas of project-open-data.cio.gov/v1.1 and of GSA's dcat-us 3.0.0; tests hold both.
"""

from collections.abc import Sequence
from typing import Any

from api.catalog.entry import Distribution, Entry
from api.live.messages import rfc3339

SCHEMA_1_1 = "https://project-open-data.cio.gov/v1.1/schema"
MAX_RIGHTS = 255
"""Characters that DCAT-US 1.1 gives to `rights`; the dataset's page has the whole text."""


def data_json(entries: Sequence[Entry], base_url: str) -> dict[str, Any]:
    """`/data.json`, DCAT-US 1.1."""
    return {
        "@context": f"{SCHEMA_1_1}/catalog.jsonld",
        "@id": f"{base_url}/data.json",
        "@type": "dcat:Catalog",
        "conformsTo": SCHEMA_1_1,
        "describedBy": f"{SCHEMA_1_1}/catalog.json",
        "dataset": [_dataset_1_1(entry) for entry in entries],
    }


def _dataset_1_1(entry: Entry) -> dict[str, Any]:
    dataset, facts = entry.dataset, entry.facts
    made: dict[str, Any] = {
        "@type": "dcat:Dataset",
        "title": dataset.title,
        "description": entry.description,
        "keyword": list(dataset.keywords) or [dataset.category],
        # Without a reading there is nothing that was modified; the day of the review is when it was published.
        "modified": rfc3339(facts.modified_ms) if facts.modified_ms is not None else dataset.privacy.reviewed,
        "publisher": {"@type": "org:Organization", "name": dataset.publisher},
        "contactPoint": {"@type": "vcard:Contact", "fn": dataset.publisher, "hasEmail": entry.email},
        "identifier": entry.page_url,
        "accessLevel": "public",
        "license": entry.licence_url,
        "rights": _short(f"{dataset.attribution}. {dataset.privacy.rule}", MAX_RIGHTS),
        "accrualPeriodicity": f"R/{dataset.update_frequency}",
        "landingPage": entry.page_url,
        "language": list(entry.city.info.languages),
        "theme": [dataset.category],
        "describedBy": f"{entry.base_url}/catalog/{dataset.id}/datapackage.json",
        "describedByType": "application/json",
        "dataQuality": True,
        "distribution": [_distribution_1_1(one, entry) for one in entry.distributions()],
    }
    if facts.first_ms is not None and facts.newest_ms is not None:
        made["temporal"] = f"{_seconds(facts.first_ms)}/{_seconds(facts.newest_ms)}"
    if facts.bbox is not None:
        made["spatial"] = ",".join(f"{degrees:g}" for degrees in facts.bbox)
    return made


def _distribution_1_1(one: Distribution, entry: Entry) -> dict[str, Any]:
    made: dict[str, Any] = {"@type": "dcat:Distribution", "title": one.title, "description": one.description}
    if one.is_download:
        return made | {"downloadURL": one.url, "mediaType": one.media_type, "format": one.format}
    return made | {"accessURL": one.url, "format": "API", "conformsTo": f"{entry.base_url}/openapi.json"}


def dcat_us_3(entries: Sequence[Entry], base_url: str, title: str) -> dict[str, Any]:
    """`/dcat-us-3.json`, DCAT-US 3.0."""
    publisher = entries[0].dataset.publisher if entries else title
    modified = [entry.facts.modified_ms for entry in entries if entry.facts.modified_ms is not None]
    made: dict[str, Any] = {
        "@id": f"{base_url}/dcat-us-3.json",
        "@type": "Catalog",
        "title": f"Open data of {title}",
        "description": f"Live and historical city data of {title}, published by cityfeed.",
        "publisher": {"@type": "Organization", "name": publisher},
        "homepage": {"@type": "Document", "title": f"Open data of {title}", "accessURL": f"{base_url}/catalog"},
        "conformsTo": {"@type": "Standard", "title": "DCAT-US 3.0", "identifier": "https://resources.data.gov/dcat-us/3.0.0"},
        "dataset": [_dataset_3(entry) for entry in entries],
    }  # fmt: skip
    if entries:  # a service names whom to ask, and without a dataset there is nobody
        made["service"] = [
            {
                "@id": f"{base_url}/v1",
                "@type": "DataService",
                "title": "cityfeed REST API",
                "endpointURL": [f"{base_url}/v1"],
                "endpointDescription": [f"{base_url}/openapi.json"],
                "contactPoint": [{"@type": "Kind", "fn": publisher, "hasEmail": entries[0].email}],
                "publisher": {"@type": "Organization", "name": publisher},
            }
        ]
    if modified:
        made["modified"] = rfc3339(max(modified))
    return made


def _dataset_3(entry: Entry) -> dict[str, Any]:
    dataset, facts = entry.dataset, entry.facts
    made: dict[str, Any] = {
        "@id": entry.page_url,
        "@type": "Dataset",
        "identifier": entry.page_url,
        "title": dataset.title,
        "description": entry.description,
        "keyword": list(dataset.keywords),
        "contactPoint": [{"@type": "Kind", "fn": dataset.publisher, "hasEmail": entry.email}],
        "publisher": {"@type": "Organization", "name": dataset.publisher},
        "accessRights": "public",
        "rights": [f"{dataset.attribution}. {dataset.privacy.rule}"],
        "accrualPeriodicity": f"R/{dataset.update_frequency}",
        "temporalResolution": entry.resolution,
        "language": [code for code in entry.languages if len(code) == 2],  # ISO 639-1
        "landingPage": {"@type": "Document", "title": dataset.title, "accessURL": entry.page_url},
        "theme": [{"@type": "Concept", "prefLabel": dataset.category}],
        "category": [{"@type": "Concept", "prefLabel": dataset.data_type}],
        "describedBy": {
            "@type": "Distribution", "title": "Data dictionary", "mediaType": "application/json",
            "downloadURL": f"{entry.base_url}/catalog/{dataset.id}/datapackage.json",
        },
        "distribution": [_distribution_3(one, entry) for one in entry.distributions()],
    }  # fmt: skip
    if facts.modified_ms is not None:
        made["modified"] = rfc3339(facts.modified_ms)
    if facts.first_ms is not None and facts.newest_ms is not None:
        made["temporal"] = [
            {"@type": "PeriodOfTime", "startDate": _seconds(facts.first_ms), "endDate": _seconds(facts.newest_ms)}
        ]
    if facts.bbox is not None:
        made["spatial"] = [{"@type": "Location", "prefLabel": entry.city.info.name, "bbox": _polygon(facts.bbox)}]
    return made


def _distribution_3(one: Distribution, entry: Entry) -> dict[str, Any]:
    return {
        "@type": "Distribution",
        "title": one.title,
        "description": one.description,
        "format": one.format,
        "mediaType": one.media_type,
        "license": entry.licence_url,
        "downloadURL" if one.is_download else "accessURL": one.url,
    }


def _short(text: str, most: int) -> str:
    """A text of at most `most` characters, an ellipsis where it was cut."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def _polygon(bbox: tuple[float, float, float, float]) -> str:
    west, south, east, north = bbox
    corners = ((west, south), (east, south), (east, north), (west, north), (west, south))
    return "POLYGON((" + ", ".join(f"{lon:g} {lat:g}" for lon, lat in corners) + "))"


def _seconds(ms: int) -> str:
    return rfc3339(ms // 1000 * 1000).replace(".000Z", "Z")
