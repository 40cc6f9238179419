"""Applies schemas/tables/*.sql in the order of their numbers, each once, under a lock.

A file that was applied must not change any more: its checksum is kept, and a difference stops the start.
"""

import hashlib
import logging
from importlib import resources

import psycopg
from psycopg import sql

from schemas.errors import PipelineError

log = logging.getLogger(__name__)

_LOCK = 0x63697479  # "city"


async def migrate(url: str, schema: str) -> None:
    """Bring the tables of a schema up to date.

    Raises `PipelineError` where a file changed after it was applied, or the database knows a newer one than this
    program; `psycopg.Error` where the database can't be reached or refuses.
    """
    folder = resources.files("schemas") / "tables"
    files = {
        f.name: f.read_text("utf-8") for f in sorted(folder.iterdir(), key=lambda f: f.name) if f.name.endswith(".sql")
    }
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        await conn.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        await conn.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        await conn.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
        await conn.execute(sql.SQL("SET search_path TO {}, public").format(sql.Identifier(schema)))
        await conn.execute(
            sql.SQL(
                "CREATE TABLE IF NOT EXISTS {}.migrations"
                " (name text PRIMARY KEY, sha256 text NOT NULL, applied timestamptz NOT NULL DEFAULT now())"
            ).format(sql.Identifier(schema))
        )
        rows = await conn.execute(sql.SQL("SELECT name, sha256 FROM {}.migrations").format(sql.Identifier(schema)))
        applied: dict[str, str] = dict(await rows.fetchall())
        if unknown := sorted(set(applied) - set(files)):
            raise PipelineError(
                f"the database has migration {unknown[0]}, which this version does not know: update cityfeed"
            )
        for name, text in files.items():
            digest = hashlib.sha256(text.encode()).hexdigest()
            if name in applied:
                if applied[name] != digest:
                    raise PipelineError(f"schemas/tables/{name} changed after it was applied: add a new file instead")
                continue
            async with conn.transaction():
                await conn.execute(text.encode())
                await conn.execute("INSERT INTO migrations (name, sha256) VALUES (%s, %s)", [name, digest])
            log.info("applied %s", name)
