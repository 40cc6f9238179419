"""All the SQL that the processors run, except the migrations: a file for each group of tables.

`Store` is one connection that knows them all.
"""

import psycopg
from psycopg import sql

from stream_processors.store.corrections import CorrectionTables
from stream_processors.store.database import Position
from stream_processors.store.indices import IndexKey, IndexTables
from stream_processors.store.marks import MarkRow, MarkTable
from stream_processors.store.outbox import OutboxTable, OutRecord
from stream_processors.store.ownership import LogGap, OwnershipTables
from stream_processors.store.readings import ReadingTables, Stored
from stream_processors.store.series import SeriesTables
from stream_processors.store.verdicts import VerdictTable
from stream_processors.store.windows import WindowTables

__all__ = ["IndexKey", "LogGap", "MarkRow", "OutRecord", "Position", "Store", "Stored"]


class Store(
    OwnershipTables,
    SeriesTables,
    ReadingTables,
    WindowTables,
    IndexTables,
    CorrectionTables,
    MarkTable,
    VerdictTable,
    OutboxTable,
):
    """Everything that `windows` asks of the database."""

    @staticmethod
    async def connect(url: str, schema: str) -> "Store":
        """Connect; raises `psycopg.OperationalError` where the database can't be reached."""
        conn = await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=5)
        await conn.execute(sql.SQL("SET search_path TO {}, public").format(sql.Identifier(schema)))
        await conn.execute("SET timezone TO 'UTC'")
        await conn.execute(
            "CREATE TEMPORARY TABLE staged (i integer, series integer, start timestamptz, known_to timestamptz)"
        )
        await conn.execute("CREATE TEMPORARY TABLE staged_windows (LIKE windows)")
        await conn.execute("CREATE TEMPORARY TABLE staged_indices (LIKE indices, wanted boolean)")
        return Store(conn)
