"""Marks in the text of an answer become times, each asked for once a minute."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.queries.sensorthings import run
from api.sensorthings.beginnings import REMEMBERED_MS, Beginnings

START = datetime(2026, 11, 16, 8, tzinfo=UTC)


async def test_marks_become_times_and_are_remembered_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Sequence[int]] = []

    async def first_readings(connection: Any, series: Sequence[int]) -> dict[int, tuple[datetime, datetime]]:
        asked.append(list(series))
        return {key: (START + timedelta(hours=key), START + timedelta(hours=key, minutes=5)) for key in series}

    monkeypatch.setattr(run, "first_readings", first_readings)
    beginnings = Beginnings()
    text = '{"a": "MARK:start:2:/x", "b": "MARK:end:1:/y:z"}'.replace("MARK", beginnings.mark)
    shown = '{"a": "2026-11-16T10:00:00.000Z/x", "b": "2026-11-16T09:05:00.000Z/y:z"}'
    for now_ms in (5_000, 5_000 + REMEMBERED_MS - 1):
        assert await beginnings.put_in(None, text, now_ms) == shown  # type: ignore[arg-type]
    assert asked == [[1, 2]]
    assert await beginnings.put_in(None, text, 5_000 + REMEMBERED_MS) == shown  # type: ignore[arg-type]
    assert asked == [[1, 2], [1, 2]]


async def test_a_text_without_marks_is_left_alone() -> None:
    for text in ("", "{}", "start:1:", "ab:start:1:"):
        assert await Beginnings().put_in(None, text, 0) == text  # type: ignore[arg-type]


def test_every_process_has_a_mark_of_its_own() -> None:
    assert Beginnings().mark != Beginnings().mark
