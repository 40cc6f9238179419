"""Node and its packages, for the tests of JavaScript and of asyncapi.json."""

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from deploy.local import node, tools
from deploy.local.progress import Steps
from deploy.local.tools import ROOT
from schemas.settings import load


def modules() -> Path:
    """`node_modules`; fetched here where a test run began without `make test`. Skips where there is no Node.

    On CI that would be a hole: there it fails.
    """
    if tools.program("node") is None or tools.program("npm") is None:
        missing = "there is no Node here: apt-get install nodejs npm"
        pytest.fail(missing) if "CI" in os.environ else pytest.skip(missing)
    cache = (ROOT / load(os.environ).cache_dir).resolve()
    if not node.modules_dir(cache).is_dir():
        with (cache / "lock").open("w") as lock:  # bootstrap's own
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not node.modules_dir(cache).is_dir():
                node.fetch(Steps(1, cache / "log"), cache)
    return node.modules_dir(cache)


def run(*words: str | Path, cwd: Path, **environment: str) -> str:
    """What a program of Node's printed; fails with it where the program did."""
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env=os.environ | environment, text=True, check=False, timeout=110,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout
