"""The OpenAPI document: complete, and its examples are true."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from fastapi import FastAPI

from api.formats import FORMATS
from api.openapi import OPERATIONS
from api.params import PARAMETERS, read
from tests.api.city import NOW_MS, app_without_servers, client_of, hear, heard

PATHS = {
    "datasets": "/v1/datasets",
    "dataset": "/v1/{dataset}",
    "sensors": "/v1/{dataset}/sensors",
    "sensor": "/v1/{dataset}/sensors/{sensor}",
    "latest": "/v1/{dataset}/latest",
    "readings": "/v1/{dataset}/readings",
    "windows": "/v1/{dataset}/windows",
    "index": "/v1/{dataset}/index",
    "measures": "/v1/{dataset}/measures",
    "export": "/v1/{dataset}/export",
}


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    app = app_without_servers(tmp_path)
    hear(app, heard("traffic", "moved", "speed", "km/h", [NOW_MS - 310_000]))
    return app


@pytest.fixture
def document(app: FastAPI) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(app.openapi()))
    return made


def check(value: Any, schema: dict[str, Any], document: dict[str, Any]) -> None:
    """Validate against a schema that refers to the document's components."""
    whole = {"components": document["components"], **schema}
    jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker()).validate(value)


def strict(schema: Any) -> Any:
    """The schema with nothing allowed that it does not name."""
    if isinstance(schema, dict):
        made = {key: strict(value) for key, value in schema.items()}
        return (
            made | {"additionalProperties": False} if schema.get("type") == "object" and "properties" in made else made
        )
    return [strict(part) for part in schema] if isinstance(schema, list) else schema


def content_of(document: dict[str, Any], noun: str, status: str = "200") -> dict[str, Any]:
    content: dict[str, Any] = document["paths"][PATHS[noun]]["get"]["responses"][status]["content"]
    return content


def test_every_address_is_in_it(document: dict[str, Any]) -> None:
    assert {"/health", "/ready", "/metrics", "/problems/{kind}", *PATHS.values()} <= set(document["paths"])
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["summary"], path
            assert operation["description"], path
            assert "422" not in operation["responses"], path


@pytest.mark.parametrize("noun", PATHS)
def test_every_parameter_is_described_and_its_example_is_read(document: dict[str, Any], noun: str) -> None:
    given = document["paths"][PATHS[noun]]["get"]["parameters"]
    queries = {p["name"]: p for p in given if p["in"] == "query"}
    assert set(queries) == set(OPERATIONS[noun].parameters)
    assert {p["name"] for p in given if p["in"] == "path"} == {
        part.strip("{}") for part in PATHS[noun].split("/") if part.startswith("{")
    }
    for name, parameter in queries.items():
        assert parameter["description"]
        if PARAMETERS[name].example is not None:
            check(parameter["example"], parameter["schema"], document)
            values = parameter["example"] if PARAMETERS[name].repeats else [parameter["example"]]
            read([name], [(name, str(value)) for value in values])


@pytest.mark.parametrize("noun", PATHS)
def test_examples_fit_their_schemas(document: dict[str, Any], noun: str) -> None:
    content = content_of(document, noun)
    assert set(content) == {FORMATS[f].media_type.partition(";")[0] for f in OPERATIONS[noun].formats}
    strict_document = strict(document)
    for media_type, body in content.items():
        if body["schema"] == {"type": "string", "format": "binary"}:
            assert media_type in ("application/vnd.apache.parquet", "application/vnd.apache.arrow.stream")
            continue
        schema = strict(body["schema"]) if media_type == "application/json" else body["schema"]
        check(body["example"], schema, strict_document if media_type == "application/json" else document)
    fields = OPERATIONS[noun].row.__struct_encode_fields__
    assert tuple(content["application/json"]["example"]["data"][0]) == fields
    (row,) = csv.DictReader(io.StringIO(content["text/csv"]["example"]))
    assert tuple(row) == fields
    assert json.loads(content["application/x-ndjson"]["example"]) == content["application/json"]["example"]["data"][0]


@pytest.mark.parametrize("noun", PATHS)
def test_an_example_that_lacks_a_field_does_not_fit(document: dict[str, Any], noun: str) -> None:
    """But where `fields` may leave some away, the row's own schema says so."""
    (example,) = content_of(document, noun)["application/json"]["example"]["data"]
    row = {"$ref": f"#/components/schemas/{OPERATIONS[noun].row.__name__}"}
    check(example, row, document)
    for field in example:
        with pytest.raises(jsonschema.ValidationError):
            check({name: value for name, value in example.items() if name != field}, row, document)


@pytest.mark.parametrize("noun", PATHS)
def test_problems_are_described(document: dict[str, Any], noun: str) -> None:
    responses = document["paths"][PATHS[noun]]["get"]["responses"]
    assert {"400", "406", "default"} <= set(responses)
    assert ("404" in responses) is (noun != "datasets")
    assert ("503" in responses) is (noun in ("readings", "windows", "index", "measures", "export"))
    for status, response in responses.items():
        if status in ("200", "304"):
            continue
        body = response["content"]["application/problem+json"]
        check(body["example"], strict(body["schema"]), strict(document))
        assert status in ("default", str(body["example"]["status"]))


@pytest.mark.parametrize(
    ("noun", "path"),
    [
        ("datasets", "/v1/datasets"), ("dataset", "/v1/traffic"), ("sensors", "/v1/traffic/sensors"),
        ("sensors", "/v1/traffic/sensors?limit=1"), ("sensor", "/v1/traffic/sensors/moved"),
        ("latest", "/v1/traffic/latest"),
    ],
)  # fmt: skip
async def test_real_answers_fit_their_schemas(app: FastAPI, document: dict[str, Any], noun: str, path: str) -> None:
    async with client_of(app) as client:
        for format in OPERATIONS[noun].formats:
            media_type = FORMATS[format].media_type.partition(";")[0]
            got = await client.get(path, headers={"accept": media_type})
            assert got.headers["content-type"].partition(";")[0] == media_type
            if format in ("json", "geojson"):
                check(got.json(), content_of(document, noun)[media_type]["schema"], document)


def test_limits_are_those_of_the_settings(tmp_path: Path) -> None:
    document = app_without_servers(tmp_path, page_limit_max=77, page_limit_default=7).openapi()
    (limit,) = [p for p in document["paths"]["/v1/{dataset}/readings"]["get"]["parameters"] if p["name"] == "limit"]
    assert (limit["schema"]["maximum"], limit["schema"]["default"]) == (77, 7)
