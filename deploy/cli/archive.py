"""`cityfeed archive`: write closed days to the archive now."""

import asyncio
import os
from datetime import date, timedelta
from typing import Annotated

import typer

from api.archive.job import Wanted
from api.archive.main import once
from schemas.errors import SettingsError
from schemas.settings import load

_EPOCH = date(1970, 1, 1)


def archive(
    dataset: Annotated[list[str], typer.Option("--dataset", "-d", help="Only this dataset; repeat it.")] = [],  # noqa: B006
    day: Annotated[str, typer.Option(help="Only this UTC day, such as 2026-11-20.")] = "",
) -> None:
    """Write the days that are closed and not in the archive yet, and again those that late data changed.

    The running stack does the same by itself, every CITYFEED_ARCHIVE_EVERY_S. Files go to CITYFEED_ARCHIVE_URL: a
    folder, or s3://bucket/path (with s3fs installed) and whatever else fsspec knows. Nothing that is there is changed:
    a changed day gets a new revision.
    """
    settings = load(os.environ)
    first, end = 0, 1 << 20
    if day:
        try:
            first = (date.fromisoformat(day) - _EPOCH) // timedelta(days=1)
        except ValueError:
            raise SettingsError(f"--day {day}: it takes a day such as 2026-11-20") from None
        end = first + 1
    lines = asyncio.run(once(settings, Wanted(tuple(dataset), first, end)))
    print("\n".join(lines) or "nothing is new: every closed day is in the archive as it is stored")
