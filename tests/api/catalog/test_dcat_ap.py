"""DCAT-AP against shapes, and that the shapes had something to look at."""

import json
from pathlib import Path
from typing import Any

import pyshacl
import pytest
import rdflib
import rdflib.compare

from api.catalog import dcat_ap
from tests.api.catalog.made import BASE_URL, entries

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pyshacl calls what rdflib deprecates

SHAPES = Path(__file__).parent / "data" / "dcat_ap_3.ttl"
DCAT = rdflib.Namespace("http://www.w3.org/ns/dcat#")


def graph(document: dict[str, Any]) -> rdflib.Graph:
    return rdflib.Graph().parse(data=dcat_ap.turtle(document), format="turtle")


def conforms(document: dict[str, Any]) -> tuple[bool, str]:
    ok, _, told = pyshacl.validate(graph(document), shacl_graph=str(SHAPES), shacl_graph_format="turtle")
    return ok, told


def made() -> dict[str, Any]:
    return dcat_ap.catalog(entries(), BASE_URL, "Town", "City")


def test_it_conforms_and_the_shapes_met_nodes() -> None:
    ok, told = conforms(made())
    assert ok, told
    found = graph(made())
    counts = {kind: len(set(found.subjects(rdflib.RDF.type, DCAT[kind]))) for kind in
              ("Catalog", "Dataset", "Distribution", "DataService")}  # fmt: skip
    assert counts == {"Catalog": 1, "Dataset": 2, "Distribution": 16, "DataService": 1}
    assert len(set(found.objects(None, rdflib.URIRef("http://data.europa.eu/r5r/hvdCategory")))) == 1


@pytest.mark.parametrize(
    ("path", "said"),
    [(("dct:title",), "title"), (("dct:publisher", "foaf:name"), "name"),
     (("dcat:dataset", 0, "dct:description"), "description"),
     (("dcat:dataset", 0, "dcat:distribution", 0, "dcat:accessURL"), "accessURL"),
     (("dcat:dataset", 0, "dcat:contactPoint", "vcard:hasEmail"), "hasEmail"),
     (("dcat:service", 0, "dcat:endpointURL"), "endpointURL")],
)  # fmt: skip
def test_what_is_missing_is_seen(path: tuple[Any, ...], said: str) -> None:
    document = made()
    publishers = [document["dct:publisher"], document["dcat:service"][0]["dct:publisher"]]
    publishers += [dataset["dct:publisher"] for dataset in document["dcat:dataset"]]
    *above, last = path
    if path[0] == "dct:publisher" and len(path) > 1:  # one agent, told several times
        for publisher in publishers:
            del publisher[last]
    else:
        holder = document
        for key in above:
            holder = holder[key]
        del holder[last]
    ok, told = conforms(document)
    assert not ok and said in told


def test_turtle_and_json_ld_are_the_same_graph() -> None:
    from_json_ld = rdflib.Graph().parse(data=json.dumps(made()), format="json-ld")
    assert rdflib.compare.isomorphic(from_json_ld, graph(made()))


@pytest.mark.parametrize(
    ("interval_s", "code"),
    [(0, "UNKNOWN"), (60, "UPDATE_CONT"), (300, "HOURLY"), (86_400, "DAILY"), (604_800, "WEEKLY"), (10**9, "UNKNOWN")],
)  # fmt: skip
def test_frequencies_of_the_authority_table(interval_s: int, code: str) -> None:
    assert dcat_ap._frequency(interval_s) == code
