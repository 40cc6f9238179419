"""DCAT-AP 3 as JSON-LD, and as Turtle made from it.

Every node carries its type and every name its namespace, so that shapes meet what they are for: an unprefixed
`"@type": "Dataset"` would conform to anything. Shapes infer nothing, so a type says its super-class too, and concepts
of the EU's tables come with their labels (publications.europa.eu, "authority tables").

Left out, because they are the publisher's word and not ours: the kind of the publisher, how long a distribution is
planned to stay, the licence of the catalog itself and the day it was first issued.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from api.catalog.entry import Distribution, Entry
from api.live.messages import rfc3339
from schemas.city import CityInfo

Box = tuple[float, float, float, float]

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
    "Environment": ("ENVI", "Environment"),
    "Transport": ("TRAN", "Transport"),
    "Health": ("HEAL", "Health"),
    "Public safety": ("JUST", "Justice, legal system and public safety"),
    "Government": ("GOVE", "Government and public sector"),
    "Economy": ("ECON", "Economy and finance"),
    "Education": ("EDUC", "Education, culture and sport"),
    "Energy": ("ENER", "Energy"),
    "Society": ("SOCI", "Population and society"),
}
"""Our categories -> the EU's data themes (authority table data-theme): code and label."""

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

HVD_CATEGORIES = {
    "http://data.europa.eu/bna/c_ac64a52d": "Geospatial",
    "http://data.europa.eu/bna/c_dd313021": "Earth observation and environment",
    "http://data.europa.eu/bna/c_164e0bf5": "Meteorological",
    "http://data.europa.eu/bna/c_e1da4e07": "Statistics",
    "http://data.europa.eu/bna/c_a9135398": "Companies and company ownership",
    "http://data.europa.eu/bna/c_b79e35eb": "Mobility",
}
"""The six categories of high-value datasets; another address (a narrower one) is labelled by its last part."""

FILE_TYPES = {"CSV": "CSV", "Parquet": "PARQUET", "GeoJSON": "GEOJSON", "JSON": "JSON", "SensorThings": "JSON"}
"""Our formats -> the EU's authority table file-type."""

LICENCE_TYPES = {
    "CC-BY-4.0": ("Attribution", "Attribution"),
    "ODC-By-1.0": ("Attribution", "Attribution"),
    "CC-BY-SA-4.0": ("ViralEffect-ShareAlike", "Viral effect (a.k.a. share-alike)"),
    "ODbL-1.0": ("ViralEffect-ShareAlike", "Viral effect (a.k.a. share-alike)"),
    "CC0-1.0": ("PublicDomain", "Work in the public domain"),
    "PDDL-1.0": ("PublicDomain", "Work in the public domain"),
}
"""SPDX id -> ADMS licence type (purl.org/adms/licencetype): code and label."""

_AUTHORITY = "http://publications.europa.eu/resource/authority"
_MEDIA_TYPES = "https://www.iana.org/assignments/media-types"


def catalog(entries: Sequence[Entry], base_url: str, city: CityInfo, publisher: str) -> dict[str, Any]:
    """The catalog as JSON-LD."""
    language = f"{_AUTHORITY}/language/ENG"
    made: dict[str, Any] = {
        "@context": CONTEXT,
        "@id": f"{base_url}/catalog#catalog",
        "@type": "dcat:Catalog",
        "dct:title": _text(f"Open data of {city.name}"),
        "dct:description": _text(f"Live and historical city data of {city.name}, published by cityfeed."),
        "dct:publisher": _agent(base_url, publisher),
        "foaf:homepage": _typed(f"{base_url}/catalog", "foaf:Document"),
        "dct:language": _typed(language, "dct:LinguisticSystem"),
        "dct:spatial": _location(city.bbox),
        "dcat:themeTaxonomy": _typed(f"{_AUTHORITY}/data-theme", "skos:ConceptScheme")
        | {"dct:title": _text("Data theme")},
        "dcat:dataset": [_dataset(entry) for entry in entries],
        "dcat:service": _services(entries, base_url, publisher),
    }
    modified = [entry.facts.modified_ms for entry in entries if entry.facts.modified_ms is not None]
    return made | ({"dct:modified": _moment(max(modified))} if modified else {})


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
        "dcat:contactPoint": _contact(entry),
        "dcat:keyword": [_text(word) for word in dataset.keywords],
        "dcat:landingPage": _typed(entry.page_url, "foaf:Document"),
        "dct:accessRights": _typed(f"{_AUTHORITY}/access-right/PUBLIC", "dct:RightsStatement"),
        "dct:accrualPeriodicity": _typed(f"{_AUTHORITY}/frequency/{_frequency(entry.interval_s)}", "dct:Frequency"),
        "dcat:temporalResolution": {"@type": "xsd:duration", "@value": entry.resolution},
        "dct:language": [
            _typed(f"{_AUTHORITY}/language/{LANGUAGES[code]}", "dct:LinguisticSystem")
            for code in entry.languages
            if code in LANGUAGES
        ],
        "dcat:distribution": [_distribution(one, entry) for one in entry.distributions()],
    }
    if theme := THEMES.get(dataset.category):
        code, label = theme
        made["dcat:theme"] = _concept(f"{_AUTHORITY}/data-theme/{code}", label)
    if facts.modified_ms is not None:
        made["dct:modified"] = _moment(facts.modified_ms)
    if facts.first_ms is not None and facts.newest_ms is not None:
        made["dct:temporal"] = {
            "@type": "dct:PeriodOfTime",
            "dcat:startDate": _moment(facts.first_ms),
            "dcat:endDate": _moment(facts.newest_ms),
        }
    if facts.bbox is not None:
        made["dct:spatial"] = _location(facts.bbox)
    measured = {name: part for name, part in vars(entry.quality()).items() if part is not None}
    if measured:
        made["dqv:hasQualityMeasurement"] = [_measurement(entry, name, part) for name, part in measured.items()]
    return made | _legislation([entry]) | _hvd_categories([entry])


def _location(box: Box) -> dict[str, Any]:
    west, south, east, north = box
    corners = ((west, south), (east, south), (east, north), (west, north), (west, south))
    ring = ", ".join(f"{lon:g} {lat:g}" for lon, lat in corners)
    return {
        "@type": "dct:Location",
        "dcat:bbox": _wkt(f"POLYGON(({ring}))"),
        "dcat:centroid": _wkt(f"POINT({(west + east) / 2:g} {(south + north) / 2:g})"),
    }


def _wkt(text: str) -> dict[str, str]:
    return {"@type": "http://www.opengis.net/ont/geosparql#wktLiteral", "@value": text}


def _contact(entry: Entry) -> dict[str, Any]:
    return {
        "@type": ["vcard:Organization", "vcard:Kind"],
        "vcard:fn": entry.dataset.publisher,
        "vcard:hasEmail": {"@id": entry.email},
    }


def _legislation(entries: Sequence[Entry]) -> dict[str, Any]:
    """What the law on high-value datasets asks of a dataset, of its distributions and of a service that has some."""
    if not any(entry.dataset.hvd_category for entry in entries):
        return {}
    return {"dcatap:applicableLegislation": _typed(HVD_LEGISLATION, "http://data.europa.eu/eli/ontology#LegalResource")}


def _hvd_categories(entries: Sequence[Entry]) -> dict[str, Any]:
    categories = sorted({entry.hvd_category for entry in entries if entry.hvd_category})
    if not categories:
        return {}
    return {
        "dcatap:hvdCategory": [
            _concept(category, HVD_CATEGORIES.get(category, category.rstrip("/").rpartition("/")[2]))
            for category in categories
        ]
    }


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
        "dct:license": _licence(entry),
        "dct:format": _typed(f"{_AUTHORITY}/file-type/{FILE_TYPES[one.format]}", "dct:MediaTypeOrExtent"),
        "dcat:mediaType": _typed(f"{_MEDIA_TYPES}/{one.media_type}", "dct:MediaType"),
    } | _legislation([entry])
    if one.is_download:
        return made | {"dcat:downloadURL": {"@id": one.url, "@type": "rdfs:Resource"}}
    service = one.url if one.format == "SensorThings" else f"{entry.base_url}/v1"
    return made | {"dcat:accessService": {"@id": service}}


def _licence(entry: Entry) -> dict[str, Any]:
    made: dict[str, Any] = _typed(entry.licence_url, "dct:LicenseDocument")
    if known := LICENCE_TYPES.get(entry.dataset.licence):
        code, label = known
        made["dct:type"] = _concept(f"http://purl.org/adms/licencetype/{code}", label)
    return made


def _services(entries: Sequence[Entry], base_url: str, publisher: str) -> list[dict[str, Any]]:
    """The interfaces, each with what describes it to machines."""
    common: dict[str, Any] = {
        "@type": "dcat:DataService",
        "dct:publisher": _agent(base_url, publisher),
        "dct:accessRights": _typed(f"{_AUTHORITY}/access-right/PUBLIC", "dct:RightsStatement"),
        "dcat:servesDataset": [{"@id": f"{entry.page_url}#dataset"} for entry in entries],
    } | _legislation(entries) | _hvd_categories(entries)  # fmt: skip
    if entries:
        common["dcat:contactPoint"] = _contact(entries[0])
    told = (
        ("cityfeed REST API", "Readings, windows, indices and events: pages, files and live.",
         "/v1", "/openapi.json"),
        ("OGC SensorThings API 1.1", "The reading side of the SensorThings API.",
         "/sensorthings/v1.1", "/sensorthings/v1.1"),
    )  # fmt: skip
    return [
        common
        | {
            "@id": base_url + path,
            "dct:title": _text(title),
            "dct:description": _text(description),
            "dcat:endpointURL": _typed(base_url + path, "rdfs:Resource"),
            "dcat:endpointDescription": _typed(base_url + described, "rdfs:Resource"),
        }
        for title, description, path, described in told
    ]


def _agent(base_url: str, name: str) -> dict[str, Any]:
    # Quoted, not reduced to a-z: names in another script would all become one agent with many names.
    slug = quote("-".join(name.casefold().split()), safe="")
    return {"@id": f"{base_url}/catalog#publisher-{slug}", "@type": "foaf:Agent", "foaf:name": name}


def _concept(url: str, label: str) -> dict[str, Any]:
    return _typed(url, "skos:Concept") | {"skos:prefLabel": _text(label)}


def _frequency(interval_s: int) -> str:
    return next((code for limit_s, code in FREQUENCIES if 0 < interval_s <= limit_s), "UNKNOWN")


def _text(text: str) -> dict[str, str]:
    return {"@value": text, "@language": "en"}


def _typed(url: str, kind: str) -> dict[str, Any]:
    return {"@id": url, "@type": kind}


def _moment(ms: int) -> dict[str, str]:
    return {"@type": "xsd:dateTime", "@value": rfc3339(ms)}
