"""Random requests made from our own OpenAPI document: none breaks the API, none is answered in a way unsaid."""

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from deploy.local import probes
from deploy.local.stack import api_address
from schemas.registry import Registration, Site
from schemas.settings import Settings
from stream_processors.migrations import migrate
from tests.integration.history import DAY_0_MS, History, three_days
from tests.integration.test_api import window
from tests.service_stack import ServiceStack, port_block, unique_settings

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
EXAMPLES = 25
PATHS = (
    "/v1/datasets", "/v1/{dataset}", "/v1/{dataset}/sensors", "/v1/{dataset}/sensors/{sensor}", "/v1/{dataset}/latest",
    "/v1/{dataset}/readings", "/v1/{dataset}/windows", "/v1/{dataset}/export", "/v1/exports/{id}",
    "/v1/archive/{dataset}",    "/v1/archive/{dataset}/{year}/{month}/{name}", "/problems/{kind}",
)  # fmt: skip


@pytest.fixture(scope="module")
def api(servers: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an API process on a history."""
    folder = tmp_path_factory.mktemp("api")
    with port_block() as port:
        stack = ServiceStack(unique_settings(servers, f"t{uuid.uuid4().hex[:12]}", port, folder), folder)
        try:
            asyncio.run(migrate(str(servers.database_url), stack.settings.database_schema))
            with stack.connect() as connection:
                history = History(connection)
                history.register([Registration("traffic", "a", site=Site("", -118.5, 34))])
                history.store(three_days(7))
                history.publish([window("a", DAY_0_MS + h * 3_600_000) for h in range(20)])
            stack.start("api")
            stack.wait_until(lambda: probes.fetch(api_address(stack.settings), "/health")[0] == 200, "the API answers")
            yield f"http://127.0.0.1:{stack.settings.api_port}"
        finally:
            stack.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", PATHS)
def test_random_requests(api: str, path: str) -> None:
    schema = schemathesis.openapi.from_dict(httpx.get(f"{api}/openapi.json").json())
    operation = schema[path]["GET"]
    asked: list[int] = []

    @hypothesis.settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        if "{dataset}" in path and len(asked) % 2:
            case.path_parameters["dataset"] = "traffic"
        response = case.call(base_url=api)
        case.validate_response(response, checks=CHECKS)
        asked.append(response.status_code)

    ask()
    unguessable = ("/v1/exports", "/v1/archive/{dataset}/", "/problems/", "/v1/{dataset}/sensors/")
    if not path.startswith(unguessable):
        assert 200 in asked
    if "{" in path:
        assert any(status >= 400 for status in asked)
