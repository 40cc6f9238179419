"""DCAT-AP 3 as JSON-LD, and as Turtle made from it.

Every node carries its type and every name its namespace, so that shapes meet what they are for: an unprefixed
`"@type": "Dataset"` would conform to anything.
"""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from api.catalog.entry import Distribution, Entry
from api.live.messages import rfc3339

CONTEXT = {
    "dcat": "http://www.w3.org/ns/dcat#",
    "dct": "http://purl.org/dc/terms/",
    "foaf": "http://xmlns.com/foaf/0.1/",
    "vcard": "http://www.w3.org/2006/vcard/ns#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "dqv": "http://www.w3.org/ns/dqv#",
    "skos": "http://www.w3.org/2004/02/skos/core#",
    "dcatap": "http://data.europa.eu/r5r/",
    "locn": "http://www.w3.org/ns/locn#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
}

THEMES = {
    "Environment": "ENVI", "Transport": "TRAN", "Health": "HEAL", "Public safety": "JUST", "Government": "GOVE",
    "Economy": "ECON", "Education": "EDUC", "Energy": "ENER", "Society": "SOCI",
}  # fmt: skip
"""Our categories -> the EU's data themes (Publications Office, authority table data-theme)."""

FREQUENCIES = (
    (60, "UPDATE_CONT"),
    (3600, "HOURLY"),
    (86_400, "DAILY"),
    (7 * 86_400, "WEEKLY"),
    (31 * 86_400, "MONTHLY"),
)
"""Seconds up to which an interval counts as a frequency of the EU's authority table."""

LANGUAGES = {"en": "ENG", "es": "SPA", "fr": "FRA", "de": "DEU", "it": "ITA", "pt": "POR", "nl": "NLD", "vi": "VIE"}

HVD_LEGISLATION = "http://data.europa.eu/eli/reg_impl/2023/138/oj"
"""Commission Implementing Regulation (EU) 2023/138: the list of high-value datasets."""

_AUTHORITY = "http://publications.europa.eu/resource/authority"
_MEDIA_TYPES = "https://www.iana.org/assignments/media-types"


def catalog(entries: Sequence[Entry], base_url: str, city: str, publisher: str) -> dict[str, Any]:
    """The catalog as JSON-LD."""
    language = f"{_AUTHORITY}/language/ENG"
    return {
        "@context": CONTEXT,
        "@id": f"{base_url}/catalog#catalog",
        "@type": "dcat:Catalog",
        "dct:title": _text(f"Open data of {city}"),
        "dct:description": _text(f"Live and historical city data of {city}, published by cityfeed."),
        "dct:publisher": _agent(base_url, publisher),
        "foaf:homepage": _typed(f"{base_url}/catalog", "foaf:Document"),
        "dct:language": _typed(language, "dct:LinguisticSystem"),
        "dcat:dataset": [_dataset(entry) for entry in entries],
        "dcat:service": [_service(entries, base_url, publisher)],
    }


def turtle(document: dict[str, Any]) -> str:
    """The same as Turtle."""
    import rdflib  # 20 MB that most processes never need

    graph = rdflib.Graph()
    graph.parse(data=msgspec.json.encode(document).decode(), format="json-ld")
    return graph.serialize(format="turtle")


def _dataset(entry: Entry) -> dict[str, Any]:
    dataset, facts = entry.dataset, entry.facts
    made: dict[str, Any] = {
        "@id": f"{entry.page_url}#dataset",  # the page is a document about it
        "@type": "dcat:Dataset",
        "dct:identifier": entry.page_url,
        "dct:title": _text(dataset.title),
        "dct:description": _text(entry.description),
        "dct:publisher": _agent(entry.base_url, dataset.publisher),
        "dcat:contactPoint": {
            "@type": "vcard:Organization",
            "vcard:fn": dataset.publisher,
            "vcard:hasEmail": {"@id": entry.email},
        },
        "dcat:keyword": [_text(word) for word in dataset.keywords],
        "dcat:landingPage": _typed(entry.page_url, "foaf:Document"),
        "dct:accessRights": _typed(f"{_AUTHORITY}/access-right/PUBLIC", "dct:RightsStatement"),
        "dct:accrualPeriodicity": _typed(f"{_AUTHORITY}/frequency/{_frequency(entry.interval_s)}", "dct:Frequency"),
        "dcat:temporalResolution": {"@type": "xsd:duration", "@value": dataset.update_frequency},
        "dct:language": [
            _typed(f"{_AUTHORITY}/language/{LANGUAGES[code]}", "dct:LinguisticSystem")
            for code in entry.city.info.languages
            if code in LANGUAGES
        ],
        "dcat:distribution": [_distribution(one, entry) for one in entry.distributions()],
    }
    if theme := THEMES.get(dataset.category):
        made["dcat:theme"] = {"@id": f"{_AUTHORITY}/data-theme/{theme}"}
    if facts.modified_ms is not None:
        made["dct:modified"] = _moment(facts.modified_ms)
    if facts.first_ms is not None and facts.newest_ms is not None:
        made["dct:temporal"] = {
            "@type": "dct:PeriodOfTime",
            "dcat:startDate": _moment(facts.first_ms),
            "dcat:endDate": _moment(facts.newest_ms),
        }
    if facts.bbox is not None:
        west, south, east, north = (f"{degrees:g}" for degrees in facts.bbox)
        wkt = f"POLYGON(({west} {south}, {east} {south}, {east} {north}, {west} {north}, {west} {south}))"
        made["dct:spatial"] = {
            "@type": "dct:Location",
            "dcat:bbox": {"@type": "http://www.opengis.net/ont/geosparql#wktLiteral", "@value": wkt},
        }
    measured = {name: part for name, part in vars(entry.quality()).items() if part is not None}
    if measured:
        made["dqv:hasQualityMeasurement"] = [_measurement(entry, name, part) for name, part in measured.items()]
    if dataset.hvd_category:
        made["dcatap:applicableLegislation"] = {
            "@id": HVD_LEGISLATION,
            "@type": "http://data.europa.eu/eli/ontology#LegalResource",
        }
        made["dcatap:hvdCategory"] = {
            "@id": dataset.hvd_category,
            "@type": "http://www.w3.org/2004/02/skos/core#Concept",
        }
    return made


def _measurement(entry: Entry, name: str, value: float) -> dict[str, Any]:
    return {
        "@type": "dqv:QualityMeasurement",
        "dqv:isMeasurementOf": {
            "@id": f"{entry.base_url}/catalog#{name}", "@type": "dqv:Metric", "skos:prefLabel": _text(name)
        },
        "dqv:value": {"@type": "xsd:double", "@value": str(value)},
    }  # fmt: skip


def _distribution(one: Distribution, entry: Entry) -> dict[str, Any]:
    made: dict[str, Any] = {
        "@id": f"{entry.page_url}#{one.name}",
        "@type": "dcat:Distribution",
        "dct:title": _text(one.title),
        "dct:description": _text(one.description),
        "dcat:accessURL": {"@id": one.url, "@type": "rdfs:Resource"},
        "dct:license": _typed(entry.licence_url, "dct:LicenseDocument"),
        "dcat:mediaType": _typed(f"{_MEDIA_TYPES}/{one.media_type}", "dct:MediaType"),
    }
    if one.is_download:
        return made | {"dcat:downloadURL": {"@id": one.url, "@type": "rdfs:Resource"}}
    return made | {"dcat:accessService": {"@id": f"{entry.base_url}/v1"}}


def _service(entries: Sequence[Entry], base_url: str, publisher: str) -> dict[str, Any]:
    return {
        "@id": f"{base_url}/v1",
        "@type": "dcat:DataService",
        "dct:title": _text("cityfeed REST API"),
        "dct:publisher": _agent(base_url, publisher),
        "dcat:endpointURL": {"@id": f"{base_url}/v1", "@type": "rdfs:Resource"},
        "dcat:endpointDescription": {"@id": f"{base_url}/openapi.json", "@type": "rdfs:Resource"},
        "dcat:servesDataset": [{"@id": f"{entry.page_url}#dataset"} for entry in entries],
    }


def _agent(base_url: str, name: str) -> dict[str, Any]:
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return {"@id": f"{base_url}/catalog#{slug}", "@type": "foaf:Agent", "foaf:name": name}


def _frequency(interval_s: int) -> str:
    return next((code for limit_s, code in FREQUENCIES if 0 < interval_s <= limit_s), "UNKNOWN")


def _text(text: str) -> dict[str, str]:
    return {"@value": text, "@language": "en"}


def _typed(url: str, kind: str) -> dict[str, str]:
    return {"@id": url, "@type": kind}


def _moment(ms: int) -> dict[str, str]:
    return {"@type": "xsd:dateTime", "@value": rfc3339(ms)}
