"""The quick starts of docs/clients.md, run as they stand there, on a live feed."""

import asyncio
import re
import sys
from pathlib import Path

import pytest

from deploy.local.tools import ROOT
from tests import node
from tests.api.live.feeding import batch
from tests.api.live.serving import served

CITYFEED_JS = ROOT / "clients" / "javascript" / "cityfeed.js"
TEXT = (ROOT / "docs" / "clients.md").read_text()


def example(begins: str, url: str) -> str:
    """The first indented block that begins so, for a server of ours."""
    found = re.search(rf"^    {re.escape(begins)}.*(?:\n(?:    .*)?)*", TEXT, re.MULTILINE)
    assert found is not None
    code = re.sub(r"^    ", "", found[0], flags=re.MULTILINE)
    assert "http://127.0.0.1:8000" in code
    return code.replace("http://127.0.0.1:8000", url)


async def first_line(*command: str | Path, cwd: Path) -> str:
    process = await asyncio.create_subprocess_exec(*command, cwd=cwd, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            return (await process.stdout.readline()).decode()
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("language", ["python", "javascript"])
async def test_a_quick_start_shows_the_newest_value(language: str, tmp_path: Path) -> None:
    async with served() as (feed, url, _):
        feed.publish(batch(("balcony", 0, 7.25), metric="pm25", dataset="air-quality"))
        if language == "python":
            code = example("from cityfeed_client import Feed\n", url)
            line = await first_line(sys.executable, "-u", "-c", code, cwd=tmp_path)
        else:
            modules = node.modules()
            code = example("import { CityFeed }", url).replace(
                "./cityfeed.js", f"{ROOT}/clients/javascript/cityfeed.js"
            )
            own = f"import {{ WebSocket as ws }} from '{modules}/ws/wrapper.mjs'; globalThis.WebSocket ??= ws;\n"
            (tmp_path / "quick.mjs").write_text(own + code)
            line = await first_line("node", "quick.mjs", cwd=tmp_path)
    assert line.split() == ["2026-01-01T00:00:00.000Z", "balcony", "7.25", "ug/m3"]
