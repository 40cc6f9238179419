"""The roles through crashes, sleep, hand-overs, lost commits, repeats, reorderings and jumps of the clock, in memory.

Whatever happens, in the end everything is what the checker works out from the raw log alone.
"""

import asyncio
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.checker.compare import Report
from tests.checker.rules import Rules
from tests.stream_processors.memory.mutations import MUTATIONS
from tests.stream_processors.memory.world import World, write_rules

CASES = int(os.environ.get("CITYFEED_TEST_CASES", "150"))

number = st.integers
roles = st.sampled_from(("clean", "windows"))
sent = st.tuples(
    number(0, 1), number(0, 2), st.one_of(number(0, 12), number(0, 60), number(0, 400)),
    st.sampled_from((1, 1, 1, 1, 2, 3)), number(0, 9),
)  # fmt: skip
some = st.lists(sent, min_size=1, max_size=12)
steps = st.one_of(
    st.tuples(st.just("send"), some),
    st.tuples(st.just("send_through"), some),
    st.tuples(st.just("march"), number(1, 9), number(0, 9)),
    st.tuples(st.just("march"), number(1, 9), number(0, 9)),
    st.tuples(st.just("correct"), number(0, 40), number(1, 3), number(0, 9)),
    st.tuples(st.just("send_again"), number(0, 50)),
    st.tuples(st.just("tick"), st.sampled_from((1, 10, 70, 200, 4000, -100, 100_000))),
    st.tuples(st.just("poison")),
    st.tuples(st.just("hold"), st.sampled_from(((), ("readings.clean",), ("windows",), ("windows", "readings.clean")))),
    st.tuples(st.just("work"), roles, number(1, 6)),
    st.tuples(st.just("pump"), number(1, 6)),
    st.tuples(st.just("crash"), roles, number(0, 3), st.booleans()),
    st.tuples(st.just("wake"), roles, number(0, 3)),
    st.tuples(st.just("rebalance"), roles, number(0, 1)),
    st.tuples(st.just("trouble"), number(0, 14), st.sampled_from(("lost", "commit", "takeover"))),
    st.tuples(st.just("refuse"), number(1, 3)),
)
plans = st.lists(steps, min_size=10, max_size=40)


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Rules:
    return write_rules(tmp_path_factory.mktemp("city"))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Crashes on purpose are not worth a line."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def run(plan: list[Any], rules: Rules) -> Report:
    world = World()
    with world.in_place_of_servers():
        await world.start("clean", [[0, 1]])
        await world.start("windows", [[0, 1]])
        try:
            for name, *arguments in plan:
                await act(world, name, *arguments)
            await world.settle()
        finally:
            await world.end()
    return world.judge(rules)


async def act(world: World, name: str, *arguments: Any) -> None:
    match name:
        case "send" | "send_again" | "tick" | "poison" | "trouble":
            getattr(world, name)(*arguments)
        case "hold":
            world.kafka.hold(*arguments[0])
        case "refuse":
            world.kafka.refusals = arguments[0]
        case "send_through" | "march" | "correct":
            getattr(world, name.removesuffix("_through"))(*arguments)
            await act(world, "pump", 20)
        case "pump":
            await world.work("clean", arguments[0])
            await world.work("windows", arguments[0])
        case "crash":
            role, kept, sleeps = arguments
            await world.crash(role, kept, sleeps=sleeps)
        case _:
            await getattr(world, name)(*arguments)


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(plans)
def test_everything_is_what_the_raw_log_says(rules: Rules, plan: list[Any]) -> None:
    report = asyncio.run(run(plan, rules))
    assert report.is_good, report.text()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", MUTATIONS)
def test_each_fault_put_in_on_purpose_is_found(name: str, rules: Rules, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTATIONS[name](monkeypatch)

    @settings(
        max_examples=1500, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
    )  # fmt: skip
    @given(plans)
    def search(plan: list[Any]) -> None:
        try:
            report = asyncio.run(run(plan, rules))
        except Exception as e:
            raise _Found from e
        if not report.is_good:
            raise _Found

    with pytest.raises(_Found):
        search()


class _Found(Exception):
    pass
