"""Table `log_gaps`: what Kafka's logs lost after sensors had sent it, as the processors noticed it."""

from typing import Any, NamedTuple

import psycopg

from api.times import as_datetime

Connection = psycopg.AsyncConnection[Any]

LOGS_OF_READINGS = ("readings.raw", "readings.clean")

_BETWEEN = """
    SELECT id, topic, part, (extract(epoch FROM since) * 1000)::bigint, (extract(epoch FROM until) * 1000)::bigint,
           (extract(epoch FROM noticed) * 1000)::bigint, reason, log_epoch, first_lost, next_offset
    FROM log_gaps
    WHERE topic = ANY(%(topics)s) AND (since IS NULL OR since < %(to)s) AND coalesce(until, noticed) > %(from_)s
      AND (%(as_of)s::timestamptz IS NULL OR noticed <= %(as_of)s)
    ORDER BY id"""


class Gap(NamedTuple):
    """A row of `log_gaps`: what was received in [since_ms, until_ms) is missing. Times are epoch ms; since_ms None: not
    known, until_ms None: up to when it was noticed.
    """

    id: int
    topic: str
    part: int
    since_ms: int | None
    until_ms: int | None
    noticed_ms: int
    reason: str
    log_epoch: int
    first_lost: int
    next_offset: int | None


async def between(
    connection: Connection, from_ms: int, to_ms: int, as_of_ms: int | None = None, topics: tuple[str, ...] = ()
) -> list[Gap]:
    """The gaps of logs (of readings, if no others are named) that touch [from_ms, to_ms), as far as they had been
    noticed at a moment.
    """
    parameters = {
        "topics": list(topics or LOGS_OF_READINGS), "from_": as_datetime(from_ms), "to": as_datetime(to_ms),
        "as_of": None if as_of_ms is None else as_datetime(as_of_ms),
    }  # fmt: skip
    return [Gap(*row) for row in await (await connection.execute(_BETWEEN, parameters)).fetchall()]
