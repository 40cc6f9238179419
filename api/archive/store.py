"""Where the archive is: files that never change, and an index per dataset that says which there are.

<dataset>/index.json
<dataset>/2026/11/20.r1.parquet       revision 1 of a day; late data makes revision 2, and 1 stays
<dataset>/2026/11/20.r1.csv.gz
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Annotated, Any, BinaryIO, cast

import fsspec
import msgspec
from msgspec import Meta

from schemas.errors import SettingsError
from schemas.settings import Settings

SUFFIXES = {"parquet": "parquet", "csv": "csv.gz"}
MEDIA_TYPES = {"parquet": "application/vnd.apache.parquet", "csv": "application/gzip"}


class File(msgspec.Struct, frozen=True):
    """A file of the archive; `path` is below the dataset's folder."""

    path: str
    bytes: int
    sha256: str


class Day(msgspec.Struct, frozen=True):
    """A revision of a UTC day. `made` is epoch ms. `fingerprint` says what of the database it holds, `changes` how
    often the day's chunk had been written to when that was last compared.
    """

    day: Annotated[str, Meta(examples=["2026-11-20"])]
    revision: int
    rows: int
    made: int
    files: dict[str, File]
    fingerprint: str
    changes: int


class Index(msgspec.Struct, frozen=True):
    """All revisions of a dataset's days, oldest day first, newest revision last."""

    dataset: str
    days: list[Day] = []

    def newest(self) -> dict[str, Day]:
        """The newest revision of each day."""
        return {day.day: day for day in self.days}

    def with_day(self, made: Day) -> "Index":
        """The index with a new revision, or with one that replaces itself."""
        kept = [d for d in self.days if (d.day, d.revision) != (made.day, made.revision)]
        return Index(self.dataset, sorted([*kept, made], key=lambda d: (d.day, d.revision)))


class Store:
    """The archive's place. What it raises is the store's: `OSError` and its kin."""

    def __init__(self, settings: Settings) -> None:
        self.url = settings.archive_url or str(Path(settings.state_dir).resolve() / "archive")
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as e:
            raise SettingsError(f"CITYFEED_ARCHIVE_URL={self.url}: {e}") from e

    def index(self, dataset: str) -> Index:
        """The dataset's index; an empty one where there is none."""
        try:
            return msgspec.json.decode(self._files.cat_file(f"{self._root}/{dataset}/index.json"), type=Index)
        except FileNotFoundError:
            return Index(dataset)

    def put_index(self, index: Index) -> None:
        """Replace an index as a whole."""
        body = msgspec.json.format(msgspec.json.encode(index), indent=1)
        with self.writing(f"{index.dataset}/index.json") as file:
            file.write(body)

    @contextmanager
    def writing(self, path: str) -> Iterator[BinaryIO]:
        """A new file, seen by others when the block ends well, whole or not at all."""
        whole = f"{self._root}/{path}"
        self._files.makedirs(whole.rpartition("/")[0], exist_ok=True)
        draft = f"{whole}.draft"
        try:
            with self._files.open(draft, "wb") as file:
                yield cast(BinaryIO, file)
        except BaseException:
            self._files.rm(draft)
            raise
        self._files.mv(draft, whole)

    def open(self, path: str) -> Any:
        """A file, to read and seek in."""
        return self._files.open(f"{self._root}/{path}", "rb")


def path_of(day: date, revision: int, kind: str) -> str:
    """The path of a revision's file below the dataset's folder."""
    return f"{day:%Y/%m/%d}.r{revision}.{SUFFIXES[kind]}"
