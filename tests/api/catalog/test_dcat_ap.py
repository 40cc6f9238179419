"""DCAT-AP against shapes, and that the shapes had something to look at."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyshacl
import pytest
import rdflib
import rdflib.compare

from api.catalog import dcat_ap
from api.catalog.entry import Entry
from tests.api.catalog.made import BASE_URL, city, entries, entry

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pyshacl calls what rdflib deprecates

SHAPES = Path(__file__).parent / "data" / "dcat_ap_3.ttl"
DCAT = rdflib.Namespace("http://www.w3.org/ns/dcat#")
DCATAP = rdflib.Namespace("http://data.europa.eu/r5r/")
DCT = rdflib.Namespace("http://purl.org/dc/terms/")
SH = rdflib.Namespace("http://www.w3.org/ns/shacl#")
ODD = "A \"quoted\" 'title' in Köln\nwith \\ and <b>&amp;</b> ☃"


def graph(document: dict[str, Any]) -> rdflib.Graph:
    return rdflib.Graph().parse(data=dcat_ap.turtle(document), format="turtle")


def conforms(document: dict[str, Any], inference: str | None = None) -> tuple[bool, str]:
    ok, _, told = pyshacl.validate(
        graph(document), shacl_graph=str(SHAPES), shacl_graph_format="turtle", advanced=True, inference=inference
    )
    return ok, told


def made(of: Sequence[Entry] | None = None) -> dict[str, Any]:
    return dcat_ap.catalog(entries() if of is None else of, BASE_URL, city().info, "City")


@pytest.mark.parametrize("inference", [None, "rdfs"])
def test_it_conforms_and_every_shape_met_nodes(inference: str | None) -> None:
    ok, told = conforms(made(), inference)
    assert ok, told
    found = graph(made())
    shapes = rdflib.Graph().parse(SHAPES)
    counts = {str(kind).rpartition("#")[2].rpartition("/")[2]: len(set(found.subjects(rdflib.RDF.type, kind)))
              for kind in shapes.objects(None, SH.targetClass)}  # fmt: skip
    assert counts == {
        "Catalog": 1, "Dataset": 2, "Distribution": 16, "DataService": 2, "Agent": 1, "Kind": 4, "PeriodOfTime": 1,
        "Location": 2, "Concept": 4, "ConceptScheme": 1, "LicenseDocument": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "of",
    [
        [],
        [entry(title=ODD, description=ODD, publisher=ODD, attribution=ODD, keywords=(ODD,))],
        [entry(publisher="市"), entry("traffic", publisher="縣")],  # one agent each, not one with two names
        [entry(licence="CC BY 4.0"), entry("traffic", licence="https://www.govdata.de/dl-de/by-2-0")],
        [entry(update_frequency="P1W")],
        [entry(hvd_category="http://data.europa.eu/bna/c_1 2")],
    ],
    ids=["nothing", "odd-texts", "other-scripts", "other-licences", "weeks", "no-address"],
)
def test_it_conforms_whatever_a_city_says(of: list[Entry]) -> None:
    ok, told = conforms(made(of))
    assert ok, told
    titles = {str(title) for title in graph(made(of)).objects(None, DCT.title)}
    assert {one.dataset.title for one in of} <= titles


def test_what_the_law_on_high_value_datasets_asks_for() -> None:
    found = graph(made([entry(hvd_category="http://data.europa.eu/bna/c_dd313021"), entry("traffic")]))
    law = rdflib.URIRef(dcat_ap.HVD_LEGISLATION)
    under_it = set(found.subjects(DCATAP.applicableLegislation, law))
    kinds = [str(kind).rpartition("#")[2] for node in under_it for kind in found.objects(node, rdflib.RDF.type)]
    assert sorted(set(kinds)) == ["DataService", "Dataset", "Distribution", "Resource"]
    assert {kind: kinds.count(kind) for kind in ("Dataset", "DataService")} == {"Dataset": 1, "DataService": 2}
    assert not any("traffic" in str(node) for node in under_it)
    assert len(set(found.subjects(DCATAP.hvdCategory, None))) == 3


def test_what_is_no_address_is_quoted_and_not_dropped() -> None:
    found = graph(made([entry(licence="CC BY 4.0", hvd_category="http://data.europa.eu/bna/c_1 2")]))
    categories = set(found.objects(None, DCATAP.hvdCategory))
    assert categories == {rdflib.URIRef("http://data.europa.eu/bna/c_1%202")}
    licences = set(found.objects(None, DCT.license))
    assert licences == {rdflib.URIRef("https://spdx.org/licenses/CC%20BY%204.0.html")}


@pytest.mark.parametrize(
    ("declared", "told"), [("P1W", "P7D"), ("P1W2DT3H", "P9DT3H"), ("PT5M", "PT5M"), ("P1M", "P1M")]
)
def test_durations_without_weeks(declared: str, told: str) -> None:
    """Of the document: rdflib would make days of weeks by itself, JSON-LD goes out as it is."""
    [dataset] = made([entry(update_frequency=declared)])["dcat:dataset"]
    assert dataset["dcat:temporalResolution"]["@value"] == told


def test_each_interface_is_reached_through_its_own_service() -> None:
    found = graph(made())
    pairs = {(str(one).rpartition("#")[2], str(service).removeprefix(BASE_URL))
             for one, service in found.subject_objects(DCAT.accessService)}  # fmt: skip
    assert pairs == {("api", "/v1"), ("sensorthings", "/sensorthings/v1.1")}


def test_the_newest_change_of_a_dataset_is_the_catalogs() -> None:
    assert made()["dct:modified"]["@value"] == "2026-11-22T23:59:30.000Z"
    assert "dct:modified" not in made([])


@pytest.mark.parametrize(
    ("path", "said"),
    [(("dct:title",), "title"), (("dct:publisher", "foaf:name"), "name"),
     (("dcat:dataset", 0, "dct:description"), "description"),
     (("dcat:dataset", 0, "dcat:distribution", 0, "dcat:accessURL"), "accessURL"),
     (("dcat:dataset", 0, "dcat:contactPoint", "vcard:hasEmail"), "hasEmail"),
     (("dcat:dataset", 0, "dcat:theme", "@type"), "theme"),
     (("dcat:dataset", 0, "dcat:theme", "skos:prefLabel"), "prefLabel"),
     (("dcat:dataset", 0, "dct:spatial", "dcat:centroid"), "centroid"),
     (("dcat:dataset", 0, "dcat:distribution", 0, "dct:license"), "license"),
     (("dcat:dataset", 0, "dcat:distribution", 0, "dct:format"), "format"),
     (("dcat:themeTaxonomy", "dct:title"), "title"),
     (("dcat:service", 0, "dcat:endpointURL"), "endpointURL")],
)  # fmt: skip
def test_what_is_missing_is_seen(path: tuple[Any, ...], said: str) -> None:
    document = made()
    publishers = [document["dct:publisher"], *(service["dct:publisher"] for service in document["dcat:service"])]
    publishers += [dataset["dct:publisher"] for dataset in document["dcat:dataset"]]
    *above, last = path
    if path[0] == "dct:publisher" and len(path) > 1:  # one agent, told several times
        for publisher in publishers:
            publisher.pop(last, None)  # the services share theirs
    else:
        holder = document
        for key in above:
            holder = holder[key]
        del holder[last]
    ok, told = conforms(document)
    assert not ok and said in told


def test_a_contact_that_is_only_an_organization_is_seen() -> None:
    document = made()
    document["dcat:dataset"][0]["dcat:contactPoint"]["@type"] = "vcard:Organization"
    ok, told = conforms(document)
    assert not ok and "contactPoint" in told


def test_turtle_and_json_ld_are_the_same_graph() -> None:
    from_json_ld = rdflib.Graph().parse(data=json.dumps(made()), format="json-ld")
    assert rdflib.compare.isomorphic(from_json_ld, graph(made()))


@pytest.mark.parametrize(
    ("interval_s", "code"),
    [(0, "UNKNOWN"), (60, "UPDATE_CONT"), (300, "HOURLY"), (86_400, "DAILY"), (604_800, "WEEKLY"), (10**9, "UNKNOWN")],
)  # fmt: skip
def test_frequencies_of_the_authority_table(interval_s: int, code: str) -> None:
    assert dcat_ap._frequency(interval_s) == code
