"""Dead letters on real servers: kept with their bytes, replayed when mended, and neither lost nor stored twice."""

import json
import shutil
import time
from pathlib import Path

import pytest

from tests.integration.real_week import SAMPLE
from tests.integration.test_import import cityfeed
from tests.service_stack import ServiceStack

pytestmark = pytest.mark.timeout(240)


def run(stack: ServiceStack, *words: str, code: int = 0) -> str:
    process = cityfeed(stack, "dead-letters", *words)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == code, said
    return said


def letters(stack: ServiceStack, *words: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in run(stack, "list", "--json", *words).splitlines()]


def readings(stack: ServiceStack) -> list[tuple[object, ...]]:
    return stack.query(
        "SELECT sensor, metric, value, rev FROM readings JOIN series ON id = series ORDER BY sensor, metric, start"
    )


def test_letters_are_listed_mended_and_replayed_once(make_stack: object, tmp_path: Path) -> None:
    folder = tmp_path / "city"
    shutil.copytree(SAMPLE, folder, ignore=shutil.ignore_patterns("data"))
    stack: ServiceStack = make_stack(city_dir=str(folder))  # type: ignore[operator]
    stack.start("gateway", "clean", "windows")
    stack.wait_ready("gateway", "clean", "windows")
    now_ms = time.time_ns() // 1_000_000

    broken = b'{"t": %d, "pm25": 7.5' % (now_ms - 60_000)
    stack.publish("air-quality", "s1", broken)
    stack.publish("noise", "n1", {"t": now_ms - 60_000, "noise": 61.0})
    stack.publish("air-quality", "s2", [{"t": now_ms - 60_000, "pm25": 1.0}, {"t": now_ms + 3_600_000, "pm25": 2.0}])
    stack.wait_until(lambda: len(letters(stack)) == 3, "three letters")
    stack.wait_until(lambda: readings(stack) == [("s2", "pm25", 1.0, 1)], "the good reading")

    by_reason = {letter["reason"]: letter for letter in letters(stack)}
    assert set(by_reason) == {"not_json", "dataset_unknown", "clock_future"}
    bad = str(by_reason["not_json"]["id"])
    assert run(stack, "show", bad, "--payload").encode() == broken
    assert "dataset_unknown" in run(stack, "list", "--dataset", "noise") and "s1" in run(stack, "list")
    assert letters(stack, "--since", "2000-01-01T00:00:00Z") == letters(stack)

    said = run(stack, "replay", "--all", code=1)
    assert "0 sent, 3 still refused" in said and "dataset_unknown" in said
    assert len(letters(stack)) == 3

    # The message is mended by hand, the dataset is added; the clock is still ahead.
    mended = tmp_path / "mended.json"
    mended.write_bytes(broken + b"}")
    assert "1 sent, 0 still refused" in run(stack, "replay", bad, "--payload", str(mended))
    dataset = (folder / "datasets" / "air-quality.toml").read_text()
    (folder / "datasets" / "noise.toml").write_text(dataset.replace('id = "air-quality"', 'id = "noise"'))
    stack.stop("clean")
    stack.start("clean")  # services read the city folder when they start
    assert "1 would be sent" in run(stack, "replay", "--reason", "dataset_unknown", "--dry-run")
    assert "1 sent, 1 still refused" in run(stack, "replay", "--all", code=1)
    wanted = [("n1", "noise", 61.0, 1), ("s1", "pm25", 7.5, 1), ("s2", "pm25", 1.0, 1)]
    stack.wait_until(lambda: readings(stack) == wanted, "what was mended")
    assert [letter["reason"] for letter in letters(stack)] == ["clock_future"]
    assert len(letters(stack, "--all")) == 3

    # Once more, by its id: a repeat, whether `clean` remembers it or only the database.
    assert "1 sent" in run(stack, "replay", bad, "--payload", str(mended))
    stack.publish("air-quality", "s3", {"t": now_ms, "pm25": 3.0})
    stack.wait_until(lambda: len(readings(stack)) == 4, "what came after")
    assert readings(stack) == [*wanted, ("s3", "pm25", 3.0, 1)]
    assert len(letters(stack, "--all")) == 3


def test_what_can_not_be_is_told_with_the_remedy(stack: ServiceStack) -> None:
    stack.start("gateway")
    stack.wait_ready("gateway")
    assert run(stack, "list") == "no dead letters\n"
    assert "there is no dead letter 7; `cityfeed dead-letters list` has" in run(stack, "show", "7", code=1)
    assert "there is no dead letter 7" in run(stack, "replay", "7", code=1)
    assert "which letters? Give ids" in run(stack, "replay", code=1)
    assert "--since yesterday: it takes 30m" in run(stack, "list", "--since", "yesterday", code=1)
    assert "--payload is for one letter" in run(stack, "replay", "--all", "--payload", "x", code=1)
