"""The short form of the chaos: everything is killed once under load, and the checker finds nothing."""

import random
import signal
import time
from pathlib import Path

import pytest

from tests import servers as test_servers
from tests.chaos.load import Plan
from tests.chaos.scenarios import database_away, kafka_restarts, kill, rebalance
from tests.chaos.world import world
from tests.service_stack import port_block


@pytest.mark.timeout(420)
def test_nothing_is_lost_whatever_is_killed(tmp_path: Path) -> None:
    seed = random.randrange(1_000_000)
    said = [f"seed {seed}"]
    began = time.monotonic()

    def say(text: str) -> None:
        said.append(f"{time.monotonic() - began:6.1f} s  {text}")

    with port_block() as port, world(test_servers.settings(), port, tmp_path, seed, 60.0, say, pace=0.5) as made:
        try:
            for cause in (
                kill("gateway"), kill("clean"), kill("windows"), rebalance("windows"),
                database_away(2, signal.SIGKILL), kafka_restarts(signal.SIGKILL),
            ):  # fmt: skip
                cause(made, 1)
            report = made.judge()
        except Exception as e:
            logs = "\n".join(f"--- {name}\n{text[-3000:]}" for name, text in made.stack.logs().items())
            raise AssertionError("\n".join([*said, str(e), logs])) from e
        assert report.is_good, "\n".join([*said, report.text()])
        assert report.compared["readings"] > 10_000
        assert report.compared["earlier windows"] > 0


def test_a_seed_decides_what_is_sent() -> None:
    first, again, other = (
        [m for m, _ in zip(Plan(seed, 0, 3).messages(), range(2000), strict=False)] for seed in (1, 1, 2)
    )
    assert first == again != other
    assert len(first) > len(set(first)) > 1700  # some come twice
