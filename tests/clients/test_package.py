"""`cityfeed_client` stands on its own: what it imports is what its pyproject says, and nothing of the services."""

import ast
import sys
import tomllib

import cityfeed_client
import pytest
from cityfeed_client import CityfeedClientError, Feed, wait_s
from cityfeed_client.session import REMEMBERED, Subscription

from deploy.local.tools import ROOT

HOME = ROOT / "clients" / "python"


def test_it_imports_what_its_pyproject_names_and_no_more() -> None:
    project = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]
    named = {dependency.partition(">")[0] for dependency in project["dependencies"]}
    used = set()
    for path in (HOME / "cityfeed_client").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                used |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                used.add((node.module or "").split(".")[0])
    assert used - sys.stdlib_module_names - {"cityfeed_client"} == named
    assert (HOME / "cityfeed_client" / "py.typed").is_file()


def test_all_that_is_offered_is_there() -> None:
    assert all(hasattr(cityfeed_client, name) for name in cityfeed_client.__all__)


@pytest.mark.parametrize(
    ("code", "failures", "going_away_ms", "low_s", "high_s"),
    [
        (4100, 0, None, 2.5, 5.0), (4129, 3, None, 20.0, 40.0), (4130, 50, None, 150.0, 300.0),
        (4201, 0, None, 0.0, 0.25), (4208, 2, None, 1.0, 2.0), (4200, 0, 700, 0.7, 0.7), (4200, 1, 700, 0.5, 1.0),
        (1006, 0, None, 0.25, 0.5), (None, 4, None, 4.0, 8.0), (1011, 99, None, 15.0, 30.0),
    ],
)  # fmt: skip
def test_how_long_to_wait(
    code: int | None, failures: int, going_away_ms: int | None, low_s: float, high_s: float
) -> None:
    assert wait_s(code, failures, going_away_ms, lambda: 0.0) == low_s
    assert wait_s(code, failures, going_away_ms, lambda: 1.0) == high_s
    assert len({wait_s(1006, failures) for _ in range(20)}) > 1  # those who fell together do not come back together


def test_40xx_is_the_end() -> None:
    assert [wait_s(code, 0) for code in (4000, 4001, 4003, 4006, 4099)] == [None] * 5


def test_what_is_remembered_for_repeats_is_bounded() -> None:
    subscription = Subscription("windows")
    rows = [{"sensor": str(i), "rev": 1} for i in range(REMEMBERED + 10)]
    assert len(subscription.fresh(rows)) == len(rows)
    assert len(subscription._revs) == REMEMBERED
    assert subscription.fresh(rows[20:]) == [] and subscription.n_repeats == len(rows) - 20
    assert len(subscription.fresh(rows[:1])) == 1  # forgotten: rather twice than never


def test_mistakes_are_told_before_anything_is_sent() -> None:
    with Feed("http://127.0.0.1:1") as feed:
        with pytest.raises(CityfeedClientError, match=r"metric=\['pm25'\]"):
            feed.subscribe("readings", metric="pm25")
        with pytest.raises(CityfeedClientError, match="1 to 600"):
            feed.replay(since="2026-01-01T00:00:00Z", speed=0)
