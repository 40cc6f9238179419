"""The letters in Kafka's topic `dead-letters`, and which of them were replayed (`dead-letters.replayed`).

A letter's id is its offset. How many are kept: `schemas.topics.DEAD_LETTERS_MAX_BYTES`.
"""

import json
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass

import msgspec

from deploy.imports.raw import RawWriter, read_topic
from schemas import dead_letters, topics
from schemas.dead_letters import DeadLetter
from schemas.errors import WireError
from schemas.settings import Settings


@dataclass(frozen=True, slots=True)
class Stored:
    """A letter: its id, when Kafka took it (epoch ms), and whether it was replayed since."""

    id: int
    appended_ms: int
    letter: DeadLetter
    replayed: bool = False

    @property
    def place(self) -> tuple[str, str]:
        """(dataset, sensor) of what was refused, "" where it does not tell."""
        row = self.row
        if row is not None:
            return str(row.get("dataset", "")), str(row.get("sensor", ""))
        levels = self.letter.topic.split("/")
        own = self.letter.source == "mqtt" and len(levels) >= 4 and levels[1] == "v1"
        return (levels[2], levels[3]) if own else ("", "")

    @property
    def row(self) -> dict[str, object] | None:
        """The reading that was refused, of a letter that is about one."""
        if self.letter.source != "kafka" or self.letter.row < 0:
            return None
        try:
            row = json.loads(self.letter.payload)
        except ValueError:
            return None
        return row if isinstance(row, dict) else None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters: an empty field is no restriction. `since_ms` epoch ms."""

    ids: Collection[int] = ()
    reason: str = ""
    dataset: str = ""
    sensor: str = ""
    since_ms: int | None = None
    replayed: bool = False  # also those that were replayed

    def __contains__(self, stored: Stored) -> bool:
        dataset, sensor = stored.place
        return (
            (not self.ids or stored.id in self.ids)
            and (not self.reason or stored.letter.reason == self.reason)
            and (not self.dataset or dataset == self.dataset)
            and (not self.sensor or sensor == self.sensor)
            and (self.replayed or bool(self.ids) or not stored.replayed)
        )


async def read(settings: Settings, wanted: Wanted) -> AsyncIterator[Stored]:
    """The letters that are wanted, oldest first. Raises `CityfeedError` where Kafka is not there."""
    prefix = settings.kafka_topic_prefix
    done = {int(r.key) async for r in read_topic(settings, prefix + topics.REPLAYED) if r.key is not None}
    async for record in read_topic(settings, prefix + topics.DEAD_LETTERS, wanted.since_ms):
        try:
            letter = dead_letters.decode(record.value or b"")
        except WireError as e:  # of a newer version, say: shown, for hiding it would be losing it
            letter = DeadLetter("kafka", record.topic, record.timestamp, "not_a_letter", str(e), record.value or b"")
        stored = Stored(record.offset, record.timestamp, letter, record.offset in done)
        if stored in wanted:
            yield stored


async def mark_replayed(settings: Settings, writer: RawWriter, letter_id: int, now_ms: int) -> None:
    """Note that a letter was replayed; after Kafka has what became of it."""
    value = msgspec.json.encode({"at": now_ms})
    topic = settings.kafka_topic_prefix + topics.REPLAYED
    await writer.send_bytes(topic, value, 0, str(letter_id).encode())
