"""Where the archive is: files that never change, and an index per dataset that says which there are.

<dataset>/index.json
<dataset>/2026/11/20.r1.parquet       revision 1 of a day; late data makes revision 2, and 1 stays
<dataset>/2026/11/20.r1.csv.gz
<dataset>/2026/11/20.r1.log.parquet   where its rows stand in the log: not served, for days that are here alone
"""

import contextlib
import hashlib
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
LOG_SUFFIX = "log.parquet"
MEDIA_TYPES = {"parquet": "application/vnd.apache.parquet", "csv": "application/gzip"}


class File(msgspec.Struct, frozen=True):
    """A file of the archive; `path` is below the dataset's folder."""

    path: str
    bytes: int
    sha256: str


class Day(msgspec.Struct, frozen=True):
    """A revision of a UTC day. `made` is epoch ms. `fingerprint` says what of the database it holds, `changes` how
    often the day's chunk had been written to when that was last compared. `log` says of each row where it stands in
    Kafka's log (a Parquet file beside the public ones), `periods` which `period_s` the rows have.
    """

    day: Annotated[str, Meta(examples=["2026-11-20"])]
    revision: int
    rows: int
    made: int
    files: dict[str, File]
    fingerprint: str
    changes: int
    log: File | None = None
    periods: list[int] = []


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
            self._files, self._root = _place(self.url)
        except (ImportError, ValueError) as e:
            raise SettingsError(f"CITYFEED_ARCHIVE_URL={self.url}: {e}") from e
        # A folder that is not there yet is an empty archive, a bucket that is not there is a mistake.
        self._bucket = self._root.partition("/")[0] if self.url.startswith("s3://") else ""

    def index(self, dataset: str) -> Index:
        """The dataset's index; an empty one where there is none."""
        try:
            return msgspec.json.decode(self._files.cat_file(f"{self._root}/{dataset}/index.json"), type=Index)
        except FileNotFoundError:
            if self._bucket:
                self._files.info(self._bucket)
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
            with contextlib.suppress(OSError):  # the next try writes over it
                self._files.rm(draft)
            raise
        self._files.mv(draft, whole)

    def sha256(self, path: str) -> str:
        """The SHA-256 of a file as it is there."""
        with self.open(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def open(self, path: str) -> Any:
        """A file, to read and seek in."""
        return self._files.open(f"{self._root}/{path}", "rb")


def _place(url: str) -> tuple[Any, str]:
    """The file system of a URL and the path in it. S3 is Arrow's: that is here anyway, and raises `OSError`."""
    if not url.startswith("s3://"):
        found: tuple[Any, str] = fsspec.core.url_to_fs(url)
        return found
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow.fs import FileSystem

    files, root = FileSystem.from_uri(url)
    return ArrowFSWrapper(files), root


def path_of(day: date, revision: int, kind: str) -> str:
    """The path of a revision's file below the dataset's folder."""
    return f"{day:%Y/%m/%d}.r{revision}.{SUFFIXES.get(kind, LOG_SUFFIX)}"
