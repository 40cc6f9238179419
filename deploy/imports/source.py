"""A file of history, chunk by chunk: columns of text, each row with its line number.

CSV (also `.gz`) and Parquet. All is text until the mapping says what it means, so that what can't be read is
kept as it stands in the file.
"""

import contextlib
import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from deploy.imports.mapping import FileForm
from schemas.errors import CityfeedError

CHUNK_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Refused:
    """A row, or one value of it, that is no reading: the row's number in the file (from 1), a stable code, a sentence
    for a person, and the text of its cells that the map names.
    """

    row: int
    reason: str
    detail: str
    text: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of a file: columns of text of one length; `row` numbers them (CSV: the line where the row ends, Parquet:
    the row). `last_row` is the number of the last row read, `done` how much of the file is behind it, in the unit of
    `Source.size`. `refused` are rows that have no columns at all.
    """

    columns: dict[str, list[str]]
    row: list[int]
    last_row: int
    done: int
    refused: list[Refused] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.row)

    def text(self, i: int) -> str:
        """The cells of row `i`, in the file's order."""
        return ",".join(column[i] for column in self.columns.values())


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read: `size` in bytes (CSV) or rows (Parquet)."""

    path: Path
    form: FileForm
    size: int
    is_parquet: bool

    @staticmethod
    def open(path: Path, form: FileForm) -> "Source":
        """Raises `CityfeedError` for a file that can't be read."""
        try:
            if path.suffix.lower() in (".parquet", ".pq"):
                size = int(pl.scan_parquet(path).select(pl.len()).collect().item())
                return Source(path, form, size, True)
            size = path.stat().st_size
        except OSError as e:
            raise CityfeedError(f"{path}: {e.strerror or e}") from e
        except pl.exceptions.PolarsError as e:
            raise CityfeedError(f"{path} is not a Parquet file: {e}") from e
        if not path.is_file() and not path.is_dir():
            raise CityfeedError(f"{path} is a pipe or a device, and is read more than once: write it to a file first")
        if path.is_file() and not size:
            raise CityfeedError(f"{path} is empty: there is not even a header")
        return Source(path, form, size, False)

    def header(self) -> list[str]:
        """The names of the columns."""
        if self.is_parquet:
            return pl.scan_parquet(self.path).collect_schema().names()
        if self.form.columns:
            return list(self.form.columns)
        with self._text() as (_, rows, _):
            return next(rows, [])

    def chunks(self, wanted: list[str], after_row: int = 0) -> Iterator[Chunk]:
        """The rows behind number `after_row`, in the file's order, with the columns `wanted`.

        Raises `CityfeedError` where a column is missing or there twice, or the text is not UTF-8.
        """
        header = self.header()
        if missing := [name for name in wanted if name not in header]:
            raise CityfeedError(f"{self.path} has no column {missing[0]!r}; it has {', '.join(map(repr, header))}")
        if (twice := next((name for name in wanted if header.count(name) > 1), None)) is not None:
            raise CityfeedError(f"{self.path}: two columns are called {twice!r}; rename one, or take it out")
        wanted = [name for name in header if name in wanted]
        yield from self._parquet(wanted, after_row) if self.is_parquet else self._csv(header, wanted, after_row)

    def _parquet(self, wanted: list[str], after_row: int) -> Iterator[Chunk]:
        frame = pl.scan_parquet(self.path).select(wanted)
        for begin in range(after_row, self.size, CHUNK_ROWS):
            rows = frame.slice(begin, CHUNK_ROWS).collect()
            columns = {name: _as_text(rows[name]) for name in wanted}
            last_row = begin + len(rows)
            yield Chunk(columns, list(range(begin + 1, last_row + 1)), last_row, last_row)

    def _csv(self, header: list[str], wanted: list[str], after_row: int) -> Iterator[Chunk]:
        places = [header.index(name) for name in wanted]
        with self._text() as (raw, reader, line):
            if not self.form.columns:
                next(reader, None)
            rows: list[list[str]] = []
            numbers: list[int] = []
            refused: list[Refused] = []
            for row in reader:
                if (number := line()) <= after_row or not row:
                    continue
                if len(row) != len(header):
                    detail = f"{len(row)} fields, and the header has {len(header)}"
                    refused.append(Refused(number, "row_width", detail, self.form.delimiter.join(row)))
                else:
                    rows.append(row)
                    numbers.append(number)
                if len(rows) + len(refused) >= CHUNK_ROWS:
                    yield Chunk(_columns(rows, wanted, places), numbers, number, raw.tell(), refused)
                    rows, numbers, refused = [], [], []
            if rows or refused:
                yield Chunk(_columns(rows, wanted, places), numbers, line(), self.size, refused)

    @contextlib.contextmanager
    def _text(self) -> "Iterator[tuple[BinaryIO, Iterator[list[str]], Callable[[], int]]]":
        """The file below (its position tells how far reading is), the rows behind `skip_lines`, and the number of the
        line that was read last. Raises `CityfeedError` for what comes up in the block.
        """

        def last_line() -> int:
            return max(1, (reader.line_num if reader else 0) + self.form.skip_lines)

        reader: Any = None
        try:
            with self.path.open("rb") as raw:
                binary = gzip.GzipFile(fileobj=raw) if self.path.suffix.lower() == ".gz" else raw
                with io.TextIOWrapper(binary, "utf-8-sig", newline="") as lines:
                    for _ in range(self.form.skip_lines):
                        lines.readline()
                    reader = csv.reader(lines, delimiter=self.form.delimiter)
                    yield raw, reader, last_line
        except UnicodeDecodeError as e:
            raise CityfeedError(f"{self.path} is not UTF-8 near line {last_line()}: {e}; save it as UTF-8") from e
        except IsADirectoryError as e:
            raise CityfeedError(f"{self.path} is a folder; name a file") from e
        except (csv.Error, EOFError, OSError, zlib.error) as e:
            raise CityfeedError(f"{self.path}: it can't be read near line {last_line()}: {e}") from e


def _columns(rows: list[list[str]], wanted: list[str], places: list[int]) -> dict[str, list[str]]:
    return {name: [row[place] for row in rows] for name, place in zip(wanted, places, strict=True)}


def _as_text(column: pl.Series) -> list[str]:
    """A Parquet column as a CSV would have it; times with a zone as RFC 3339 in UTC, null as an empty cell."""
    if isinstance(column.dtype, pl.Datetime):
        if column.dtype.time_zone is not None:
            column = column.dt.convert_time_zone("UTC").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
        else:
            column = column.dt.strftime("%Y-%m-%dT%H:%M:%S%.3f")
    return column.cast(pl.String).fill_null("").to_list()
