"""Formats written piece by piece, in memory that does not grow with the number of rows."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from types import SimpleNamespace
from typing import Any, Protocol

import msgspec
import numpy as np

from api import arrow, columns
from api.columns import Batch, Column

Struct = msgspec.Struct
_encoder = msgspec.json.Encoder()
_CRLF = "\r\n"
PIECE_ROWS = 4_000  # of formats that Python writes
PARQUET_GROUP_ROWS = 65_536  # rows a row group: what a reader can skip, and what a writer holds


class Stream(Protocol):
    """A format written piece by piece, in memory that does not grow with the number of rows. The bytes depend on the
    rows and on nothing else, not on how they come in batches; `rows_per_piece` is the best size of one.
    """

    rows_per_piece: int

    def begin(self) -> bytes:
        """What stands before the first row."""

    def rows(self, batch: Batch) -> bytes:
        """The next rows."""

    def end(self) -> bytes:
        """What stands after the last row."""


@dataclass(frozen=True)
class Sheet:
    """What a stream writes: kind of row, its columns, `meta` of a JSON answer, `notes` for a file's metadata."""

    kind: type[Struct]
    columns: dict[str, Column]
    meta: Struct
    notes: dict[str, str]


class _Separated:
    """JSON and GeoJSON: items with commas between them, inside something."""

    rows_per_piece = PIECE_ROWS

    def __init__(self, sheet: Sheet, head: bytes, foot: bytes) -> None:
        self._sheet, self._head, self._foot, self._any = sheet, head, foot, False

    def begin(self) -> bytes:
        return self._head

    def rows(self, batch: Batch) -> bytes:
        items = self._items(columns.structs(self._sheet.kind, self._sheet.columns, batch))
        # The comma stands before each item but the first, so that the bytes after row N begin with one.
        text = items[1:-1]
        if self._any and text:
            text = b"," + text
        self._any = self._any or bool(text)
        return text

    def skip(self) -> None:
        """The rows go on after others that are not written here."""
        self._any = True

    def end(self) -> bytes:
        return self._foot

    def _items(self, rows: Sequence[Struct]) -> bytes:
        return _encoder.encode(rows)


class JsonStream(_Separated):
    """`{"data": [...], "next": null, "meta": {...}}`."""

    def __init__(self, sheet: Sheet) -> None:
        super().__init__(sheet, b'{"data":[', b'],"next":null,"meta":%b}' % _encoder.encode(sheet.meta))


class GeojsonStream(_Separated):
    """A FeatureCollection of every row."""

    def __init__(self, sheet: Sheet) -> None:
        foot = b'],"next":null,"meta":%b}' % _encoder.encode(sheet.meta)
        super().__init__(sheet, b'{"type":"FeatureCollection","features":[', foot)

    def _items(self, rows: Sequence[Struct]) -> bytes:
        return _encoder.encode(list(features(rows, True)))


class NdjsonStream:
    """A JSON object a line."""

    rows_per_piece = PIECE_ROWS

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet

    def begin(self) -> bytes:
        return b""

    def rows(self, batch: Batch) -> bytes:
        return _encoder.encode_lines(columns.structs(self._sheet.kind, self._sheet.columns, batch))

    def end(self) -> bytes:
        return b""


class CsvStream:
    """The header, then rows; those of the database come as it wrote them and don't pass through `rows`."""

    rows_per_piece = PIECE_ROWS

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet

    def begin(self) -> bytes:
        return lines([self._sheet.kind.__struct_encode_fields__])

    def rows(self, batch: Batch) -> bytes:
        return csv_rows(columns.structs(self._sheet.kind, self._sheet.columns, batch))

    def end(self) -> bytes:
        return b""


class _Growing(io.RawIOBase):
    """A file that is written and taken away piece by piece; its first bytes, `taken`, are there already."""

    def __init__(self, taken: bytes) -> None:
        super().__init__()
        self._taken = taken
        self._pieces: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._at += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._at

    def take(self) -> bytes:
        """What was written since the last time."""
        if not self._pieces:
            return b""
        written, self._pieces, taken, self._taken = b"".join(self._pieces), [], self._taken, b""
        assert written.startswith(taken)
        return written[len(taken) :]


class _Grouped:
    """Formats that pyarrow writes, in groups of exactly `PARQUET_GROUP_ROWS` rows, however the rows come. The first
    bytes of a file go out before it is there, for to import it takes a while.
    """

    rows_per_piece = PARQUET_GROUP_ROWS
    magic: bytes

    def __init__(self, sheet: Sheet) -> None:
        self._sheet, self._file, self._n = sheet, _Growing(self.magic), 0
        self._waiting: list[Any] = []

    def begin(self) -> bytes:
        return self.magic

    def rows(self, batch: Batch) -> bytes:
        return self._take(columns.table(self._sheet.kind, self._sheet.columns, batch))

    def _take(self, table: Any) -> bytes:
        self._waiting.append(table)
        self._n += len(table)
        if sum(map(len, self._waiting)) >= PARQUET_GROUP_ROWS:
            self._write_groups(False)
        return self._file.take()

    def end(self) -> bytes:
        self._write_groups(True)
        self._close()
        return self._file.take()

    @cached_property
    def _writer(self) -> Any:
        return self._open()

    def _write_groups(self, rest: bool) -> None:
        import pyarrow as pa

        if self._waiting:
            table = pa.concat_tables(self._waiting).combine_chunks()
            whole = len(table) if rest else len(table) - len(table) % PARQUET_GROUP_ROWS
            self._write(table.slice(0, whole))
            self._waiting = [table.slice(whole)] if whole < len(table) else []

    def _open(self) -> Any:
        raise NotImplementedError

    def _write(self, table: Any) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError


class ParquetStream(_Grouped):
    """zstd; `notes` are in the file's metadata, with the number of rows."""

    magic = b"PAR1"

    def _open(self) -> Any:
        import pyarrow.parquet as pq

        schema = arrow.schema(self._sheet.kind)
        return pq.ParquetWriter(self._file, schema, compression="zstd", write_page_index=True)

    def _write(self, table: Any) -> None:
        self._writer.write_table(table, row_group_size=PARQUET_GROUP_ROWS)

    def _close(self) -> None:
        self._writer.add_key_value_metadata(self._sheet.notes | {"cityfeed.rows": str(self._n)})
        self._writer.close()


class ArrowStream(_Grouped):
    """An Arrow IPC stream, `notes` in its schema's metadata."""

    magic = b"\xff\xff\xff\xff"

    def _open(self) -> Any:
        import pyarrow as pa

        schema = arrow.schema(self._sheet.kind, self._sheet.notes)
        writer = pa.ipc.new_stream(self._file, schema)
        writer.write_batch(pa.RecordBatch.from_pylist([], schema))
        return writer

    def _write(self, table: Any) -> None:
        self._writer.write_table(table, max_chunksize=PARQUET_GROUP_ROWS)

    def _close(self) -> None:
        self._writer.close()


class LogStream(_Grouped):
    """Of each row of a Parquet file where it stands in the log, in row groups of the same rows."""

    magic = b"PAR1"
    names = ("part", "position", "source_rev")

    def __init__(self) -> None:
        self._file, self._n, self._waiting = _Growing(self.magic), 0, []

    def put(self, rows: Any) -> bytes:
        """The next rows, an array with these columns."""
        import pyarrow as pa

        return self._take(pa.table({name: np.ascontiguousarray(rows[name]) for name in self.names}))

    def _open(self) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds = zip(self.names, (pa.int16(), pa.int64(), pa.int32()), strict=True)
        return pq.ParquetWriter(self._file, pa.schema(kinds), compression="zstd")

    def _write(self, table: Any) -> None:
        self._writer.write_table(table, row_group_size=PARQUET_GROUP_ROWS)

    def _close(self) -> None:
        self._writer.close()


def features(rows: Iterable[Struct], everywhere: bool) -> Iterable[dict[str, Any]]:
    """GeoJSON features of rows with `lon` and `lat`; those without a place only `everywhere`, their geometry null."""
    for row in rows:
        properties = msgspec.structs.asdict(row)
        lon, lat = properties.pop("lon"), properties.pop("lat")
        if lon is not None:
            yield {
                "type": "Feature",
                "geometry": {"type": "Point", "coordinates": [lon, lat]},
                "properties": properties,
            }
        elif everywhere:
            yield {"type": "Feature", "geometry": None, "properties": properties}


def csv_rows(rows: Sequence[Struct]) -> bytes:
    """Rows as CSV, without a header."""
    cells = [_cells(column) for column in zip(*map(msgspec.structs.astuple, rows), strict=True)]
    return lines(zip(*cells, strict=True))


def lines(rows: Iterable[Sequence[Any]]) -> bytes:
    """Lines of CSV (RFC 4180 with LF)."""
    made: list[str] = []
    # The writer quotes what is in its line end; so that a lone CR is quoted too, that is CRLF until here.
    csv.writer(SimpleNamespace(write=made.append), lineterminator=_CRLF).writerows(rows)
    return "".join([line.removesuffix(_CRLF) + "\n" for line in made]).encode()


def _cells(column: Sequence[Any]) -> Sequence[Any]:
    """A column's values as CSV has them; the first that is there says of which type all are."""
    sample = next(compress(column, map(_there, column)), None)
    if isinstance(sample, bool):
        return ["" if v is None else "true" if v else "false" for v in column]
    if isinstance(sample, list | dict | Struct):
        return ["" if v is None else _encoder.encode(v).decode() for v in column]
    return column


def _there(value: Any) -> bool:
    return value is not None
