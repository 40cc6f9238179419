"""What transactions leave to be sent to Kafka: whole records, kept until Kafka has acknowledged them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stream_processors.store.database import Database


@dataclass(frozen=True, slots=True)
class OutRecord:
    """A record for `topic` (without the prefix); `out_seq` is that of its last row in partition `part`."""

    part: int
    out_seq: int
    topic: str
    value: bytes


class OutboxTable(Database):
    """Table `outbox`."""

    async def put_outbox(self, records: Sequence[OutRecord]) -> None:
        """Leave records to be sent; in the transaction of what they say."""
        if not records:
            return
        await self._conn.execute(
            "INSERT INTO outbox (part, out_seq, topic, value, made) SELECT part, out_seq, topic, value, now()"
            " FROM unnest(%s::smallint[], %s::bigint[], %s::text[], %s::bytea[]) AS o (part, out_seq, topic, value)",
            [
                [r.part for r in records],
                [r.out_seq for r in records],
                [r.topic for r in records],
                [r.value for r in records],
            ],
        )

    async def drop_outbox(self, sent: Mapping[int, int]) -> None:
        """Forget the records up to these numbers (partition -> out_seq): Kafka has them."""
        if not sent:
            return
        await self._conn.execute(
            "DELETE FROM outbox o USING unnest(%s::smallint[], %s::bigint[]) AS s (part, seq)"
            " WHERE o.part = s.part AND o.out_seq <= s.seq",
            [list(sent), list(sent.values())],
        )

    async def outbox_after(self, part: int, out_seq: int, limit: int) -> list[OutRecord]:
        """The next records of a partition above a number, at most `limit`."""
        rows = await self._conn.execute(
            "SELECT part, out_seq, topic, value FROM outbox WHERE part = %s AND out_seq > %s ORDER BY out_seq LIMIT %s",
            [part, out_seq, limit],
        )
        return [OutRecord(p, seq, topic, bytes(value)) for p, seq, topic, value in await rows.fetchall()]

    async def outbox_size(self, parts: Sequence[int]) -> int:
        """How many records of these partitions wait."""
        rows = await self._conn.execute("SELECT count(*) FROM outbox WHERE part = ANY(%s)", [list(parts)])
        row = await rows.fetchone()
        return int(row[0]) if row else 0
