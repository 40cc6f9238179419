"""One import: chunks out of the file, readings into Kafka, at most `CHUNKS_IN_FLIGHT` unacknowledged chunks.

The journal moves behind Kafka's acknowledgement, so a killed import repeats at most what was in flight, and the
stream drops what comes again.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from deploy.imports.convert import Converted, Converter
from deploy.imports.journal import Journal
from deploy.imports.mapping import Mapping
from deploy.imports.raw import RawWriter
from deploy.imports.source import Chunk, Source

CHUNKS_IN_FLIGHT = 8

Told = Callable[[int], None]
"""Called with how much of the file is done, in the unit of `Source.size`."""


def chunks(source: Source, mapping: Mapping, after_row: int) -> Iterator[Chunk]:
    """The chunks of a file behind a row. Raises `CityfeedError`."""
    return source.chunks(mapping.columns(), after_row)


async def run(
    source: Source,
    mapping: Mapping,
    converter: Converter,
    journal: Journal,
    writer: RawWriter,
    now_ms: Callable[[], int],
    told: Told,
) -> None:
    """Send what the journal does not have yet; returns when Kafka has acknowledged all. Raises `CityfeedError`."""
    in_flight: deque[tuple[Chunk, Converted, list[asyncio.Future[Any]]]] = deque()
    coming = chunks(source, mapping, journal.progress.row)
    while (chunk := await asyncio.to_thread(next, coming, None)) is not None:
        converted = await asyncio.to_thread(converter.convert, chunk, now_ms())
        in_flight.append((chunk, converted, await writer.send(converted.readings)))
        while in_flight and (len(in_flight) >= CHUNKS_IN_FLIGHT or all(sent.done() for sent in in_flight[0][2])):
            await _settle(*in_flight.popleft(), journal, told)
    while in_flight:
        await _settle(*in_flight.popleft(), journal, told)
    journal.progress.finished = True
    journal.save()


def check(
    source: Source, mapping: Mapping, converter: Converter, journal: Journal, now_ms: Callable[[], int], told: Told
) -> None:
    """The same without sending: what would be imported, and what refused."""
    for chunk in chunks(source, mapping, 0):
        _note(chunk, converter.convert(chunk, now_ms()), journal, told)


async def _settle(
    chunk: Chunk, converted: Converted, sent: list[asyncio.Future[Any]], journal: Journal, told: Told
) -> None:
    await asyncio.gather(*sent)
    _note(chunk, converted, journal, told)
    journal.save()


def _note(chunk: Chunk, converted: Converted, journal: Journal, told: Told) -> None:
    progress = journal.progress
    progress.row, progress.done = chunk.last_row, chunk.done
    progress.readings += len(converted.readings)
    progress.left_out += converted.left_out
    progress.empty += converted.empty
    if converted.refused:
        progress.refused_bytes = journal.refuse(converted.refused)
        for reason, same in itertools.groupby(sorted(r.reason for r in converted.refused)):
            progress.refused[reason] = progress.refused.get(reason, 0) + len(list(same))
    told(chunk.done)
