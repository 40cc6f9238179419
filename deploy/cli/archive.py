"""`cityfeed archive`: write closed days to the archive now."""

import asyncio
import os
from datetime import date, timedelta
from typing import Annotated

import psycopg
import typer

from api.archive import move
from api.archive.job import Wanted
from api.archive.main import once
from api.archive.store import Store
from api.queries.pool import connect
from deploy.local.settings import load
from schemas.errors import CityfeedError, SettingsError
from schemas.settings import Settings

_EPOCH = date(1970, 1, 1)


def archive(
    dataset: Annotated[list[str], typer.Option("--dataset", "-d", help="Only this dataset; repeat it.")] = [],  # noqa: B006
    day: Annotated[str, typer.Option(help="Only this UTC day, such as 2026-11-20.")] = "",
    bring_back: Annotated[
        bool,
        typer.Option("--bring-back", help="Put the day's readings into the database again, where they had left it."),
    ] = False,
) -> None:
    """Write the days that are closed and not in the archive yet, and again those that late data changed.

    The running stack does the same by itself, every CITYFEED_ARCHIVE_EVERY_S. Files go to CITYFEED_ARCHIVE_URL: a
    folder, or s3://bucket/path (docs/open-data.md) and whatever else fsspec knows. Nothing that is there is changed:
    a changed day gets a new revision.

    With CITYFEED_DATABASE_KEEP_DAYS the running stack also takes old days out of the database, when their files are
    verified; history reads them from there. To import or correct readings of such a day, bring it back first.

    \b
    Examples:
      cityfeed archive -d traffic --day 2026-11-20
      cityfeed archive -d traffic --day 2025-03-01 --bring-back
    """
    settings = load(os.environ)
    first, end = 0, 1 << 20
    if day:
        try:
            first = (date.fromisoformat(day) - _EPOCH) // timedelta(days=1)
        except ValueError:
            raise SettingsError(f"--day {day}: it takes a day such as 2026-11-20") from None
        end = first + 1
    try:
        if bring_back:
            if not day or len(dataset) != 1:
                raise SettingsError("--bring-back: it takes one --dataset and one --day")
            rows = asyncio.run(_bring_back(settings, dataset[0], first))
            print(f"{dataset[0]} {day}: {rows:,} readings are in the database again")
            return
        lines = asyncio.run(once(settings, Wanted(tuple(dataset), first, end)))
    except (psycopg.OperationalError, psycopg.errors.UndefinedTable, OSError) as e:
        raise CityfeedError(f"archive: {str(e).splitlines()[0]}") from e
    print("\n".join(lines) or "nothing is new: every closed day is in the archive as it is stored")


async def _bring_back(settings: Settings, dataset: str, day: int) -> int:
    async with connect(settings, "cityfeed archive") as connection:
        return await move.bring_back(connection, Store(settings), dataset, day)
