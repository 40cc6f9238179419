"""`cityfeed watch` on the whole chain: the past, then live, and later from the place that it kept."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from deploy.local.stack import environment
from deploy.local.tools import ROOT
from tests.integration.test_api_processes import send, starts
from tests.service_stack import ServiceStack

pytestmark = pytest.mark.timeout(180)


class Watch:
    """The command as a process; its rows go to a file."""

    def __init__(self, stack: ServiceStack, folder: Path, *words: str) -> None:
        self.out, self.err = folder / "rows.ndjson", folder / "said.txt"
        with self.out.open("w") as out, self.err.open("w") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from deploy.cli import main; main()", "watch", "--json", *words],
                cwd=ROOT, stdout=out, stderr=err, env=os.environ | environment(stack.settings),
            )  # fmt: skip

    def starts(self) -> list[str]:
        rows: list[dict[str, Any]] = [json.loads(line) for line in self.out.read_text().splitlines()]
        return [row["start"] for row in rows]

    def interrupt(self) -> int:
        time.sleep(0.3)
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(30)


def test_the_past_then_live_and_on_from_the_place_that_was_kept(stack: ServiceStack, tmp_path: Path) -> None:
    stack.start("gateway", "clean", "windows", "api")
    stack.wait_ready(timeout_s=90)
    send(stack, range(5))
    stack.wait_until(lambda: stack.query("SELECT count(*) FROM readings") == [(5,)], "they are stored")
    place = str(tmp_path / "place")
    watch = Watch(stack, tmp_path, "--since", "1h", "--sensor", "balcony", "--keep", place)
    stack.wait_until(lambda: watch.starts() == starts(range(5)), f"the past is shown {watch.err.read_text()}")
    send(stack, range(5, 8))
    stack.wait_until(lambda: watch.starts() == starts(range(8)), "and what comes")
    assert watch.interrupt() == 0, watch.err.read_text()
    send(stack, range(8, 11))
    again = Watch(stack, tmp_path, "--mode", "all", "--sensor", "balcony", "--keep", place)
    stack.wait_until(lambda: again.starts() == starts(range(8, 11)), "what came meanwhile, and no more")
    assert again.interrupt() == 0
    assert again.err.read_text() == ""
