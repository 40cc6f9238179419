"""Fixtures that give integration tests real servers and real services.

`servers` (once a run, started at first use), `make_stack` (services with settings of one's own) and
`stack` (services with a test's usual settings). When a test fails, the services' logs are in its report.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from schemas.settings import Settings
from tests import servers as test_servers
from tests.service_stack import ServiceStack, port_block, unique_settings

STACKS: pytest.StashKey[list[ServiceStack]] = pytest.StashKey()


def pytest_report_header() -> str:
    return f"servers of integration tests: {test_servers.header()}"


@pytest.fixture(scope="session")
def servers() -> Iterator[Settings]:
    """Mosquitto, Kafka and PostgreSQL/TimescaleDB are up; the settings that reach them."""
    with test_servers.running() as settings:
        yield settings


@pytest.fixture
def make_stack(
    servers: Settings, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., ServiceStack]]:
    """`make_stack(windows_flush_ms=50)`: services that share nothing with other tests but the servers."""
    made = request.node.stash.setdefault(STACKS, [])
    with ExitStack() as cleanup:

        def make(**overrides: Any) -> ServiceStack:
            name = f"t{uuid.uuid4().hex[:12]}"
            folder = tmp_path / name
            folder.mkdir()
            first_port = cleanup.enter_context(port_block())
            created = ServiceStack(unique_settings(servers, name, first_port, folder, **overrides), folder)
            made.append(created)
            cleanup.callback(created.close)
            return created

        yield make


@pytest.fixture
def stack(make_stack: Callable[..., ServiceStack]) -> ServiceStack:
    """Services of this test alone; none is started yet."""
    return make_stack()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: Any = yield
    if report.failed:
        for stack in item.stash.get(STACKS, []):
            report.sections += [(f"log of {name}", text) for name, text in stack.logs().items()]
    return report
