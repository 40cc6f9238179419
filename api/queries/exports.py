"""Table `exports`: what each export is of, how far it has come, its proof."""

from collections.abc import Sequence
from typing import Any

import msgspec
import psycopg

from api.times import as_datetime

Connection = psycopg.AsyncConnection[Any]

_ADD = """
    INSERT INTO exports (id, dataset, noun, format, query, chosen, from_ms, to_ms, positions, taken, updated, state)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'running')"""
_FORGET = "DELETE FROM exports WHERE taken < %s"
_FIND = """
    SELECT id, dataset, noun, format, query::text, chosen::text, from_ms, to_ms, positions::text,
           (extract(epoch FROM taken) * 1000)::bigint, (extract(epoch FROM updated) * 1000)::bigint, state, rows, bytes,
           sha256, steps::text
    FROM exports WHERE id = %s"""
_MOVE = """
    UPDATE exports SET state = %s, updated = %s, rows = greatest(rows, %s), bytes = greatest(bytes, %s),
           sha256 = coalesce(sha256, %s), steps = CASE WHEN jsonb_array_length(steps) < %s THEN %s ELSE steps END
    WHERE id = %s AND (state <> 'complete' OR %s = 'complete')"""
_WRITABLE = "SET TRANSACTION READ WRITE"


class Export(msgspec.Struct, frozen=True):
    """An export. Times are epoch ms; `query` are the parameters that were asked, `chosen` what of the registry the
    rows depend on, `positions` {"readings": {part: position}, "windows": {part: out_seq}}, `steps` (day from 1970, rows
    before it). `rows` and `bytes` are those made so far, all of them where `state` is `complete`.
    """

    id: str
    dataset: str
    noun: str
    format: str
    query: list[tuple[str, str]]
    chosen: dict[str, Any]
    from_ms: int
    to_ms: int
    positions: dict[str, dict[int, int]]
    taken_ms: int
    updated_ms: int
    state: str = "running"
    rows: int = 0
    bytes: int = 0
    sha256: str | None = None
    steps: list[tuple[int, int]] = []


async def add(connection: Connection, export: Export, forget_before_ms: int) -> None:
    """Store a new export; those taken before a moment are forgotten."""
    async with connection.transaction():
        await connection.execute(_WRITABLE)
        await connection.execute(_FORGET, (as_datetime(forget_before_ms),))
        await connection.execute(
            _ADD,
            (
                export.id, export.dataset, export.noun, export.format, _json(export.query), _json(export.chosen),
                export.from_ms, export.to_ms, _json(export.positions), as_datetime(export.taken_ms),
                as_datetime(export.updated_ms),
            ),
        )  # fmt: skip


async def find(connection: Connection, id: str) -> Export | None:
    """An export by its id."""
    row = await (await connection.execute(_FIND, (id,))).fetchone()
    if row is None:
        return None
    texts = {4: list[tuple[str, str]], 5: dict[str, Any], 8: dict[str, dict[int, int]], 15: list[tuple[int, int]]}
    values = [msgspec.json.decode(v, type=texts[i], strict=False) if i in texts else v for i, v in enumerate(row)]
    return Export(*values)


async def move(
    connection: Connection,
    id: str,
    state: str,
    now_ms: int,
    rows: int,
    n_bytes: int,
    sha256: str | None,
    steps: Sequence[tuple[int, int]],
) -> None:
    """Say how far an export has come. What is complete stays so."""
    values = (state, as_datetime(now_ms), rows, n_bytes, sha256, len(steps), _json(list(steps)), id, state)
    async with connection.transaction():
        await connection.execute(_WRITABLE)
        await connection.execute(_MOVE, values)


async def count(connection: Connection, query: str, parameters: dict[str, Any]) -> int:
    """Rows of a `pages.select`."""
    async with psycopg.AsyncClientCursor(connection) as cursor:
        await cursor.execute(f"SELECT count(*) FROM ({query}) AS r".encode(), parameters)
        row = await cursor.fetchone()
    return int(row[0]) if row else 0


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
