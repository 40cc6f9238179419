"""What a client must have told its user at the end of each recorded conversation, compared with what it told."""

import json
import urllib.request
from typing import Any

from deploy.local.tools import ROOT

FOLDER = ROOT / "clients" / "conversations"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
TOLD = ("snapshot", "rows", "reset", "gap", "replay_end", "problem", "source")
"""Events that are compared; states and heartbeats come as they like."""


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def verdict(port: int, name: str, who: str) -> str | None:
    """What the scripted server has against the client; waits until its script is through."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{name}/{who}/verdict", timeout=60) as answer:
        found: dict[str, str | None] = json.loads(answer.read())
    return found["problem"]


def assert_told(name: str, told: dict[str, Any]) -> None:
    """`told` has `events`, `waits` and `error` as the client's user got them."""
    wanted = read(name)
    assert told["error"] == wanted["error"] or covers(wanted["error"], told["error"]), told["error"]
    assert len(told["events"]) == len(wanted["events"]), told["events"]
    for expected, event in zip(wanted["events"], told["events"], strict=True):
        assert covers(expected, event), f"{event}\nis not\n{expected}"
    assert len(told["waits"]) == len(wanted["waits"]), told["waits"]
    for expected, (code, wait_s) in zip(wanted["waits"], told["waits"], strict=True):
        assert expected["code"] in ("any", code), told["waits"]
        assert expected["low_s"] <= wait_s <= expected["high_s"], told["waits"]


def covers(wanted: Any, found: Any) -> bool:
    """Whether everything wanted is there."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(key in found and covers(item, found[key]) for key, item in wanted.items())
    return bool(wanted == found)
