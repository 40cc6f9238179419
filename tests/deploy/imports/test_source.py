"""Files in chunks: line numbers, what is not a row, what is not a file of this kind."""

import gzip
import os
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from deploy.imports import source as module
from deploy.imports.mapping import FileForm
from deploy.imports.source import Source
from schemas.errors import CityfeedError


def rows(path: Path, wanted: list[str], form: FileForm | None = None, after_row: int = 0) -> list[tuple[int, ...]]:
    found = []
    for chunk in Source.open(path, form or FileForm()).chunks(wanted, after_row):
        found += [(number, *(chunk.columns[name][i] for name in wanted)) for i, number in enumerate(chunk.row)]
    return found


def test_rows_have_the_number_of_their_line(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('﻿t,v\n1,"a\nb"\n\n2,c\n', "utf-8")
    assert rows(file, ["v", "t"]) == [(3, "a\nb", "1"), (5, "c", "2")]
    assert rows(file, ["v"], after_row=3) == [(5, "c")]


def test_skipped_lines_delimiter_and_names_without_a_header(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("made by a logger\n\n1;2,5\n")
    form = FileForm(delimiter=";", decimal=",", skip_lines=2, columns=("t", "v"))
    assert rows(file, ["t", "v"], form) == [(3, "1", "2,5")]


def test_a_row_of_another_width_is_refused_and_the_others_stay(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("t,v\n1,2\n1,2,3\n3,4\n")
    (chunk,) = Source.open(file, FileForm()).chunks(["t"])
    assert chunk.columns == {"t": ["1", "3"]}
    assert [(r.row, r.reason, r.text) for r in chunk.refused] == [(3, "row_width", "1,2,3")]


def test_chunks_end_where_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", 2)
    file = tmp_path / "a.csv.gz"
    file.write_bytes(gzip.compress(b"v\n" + b"".join(b"%d\n" % i for i in range(5))))
    source = Source.open(file, FileForm())
    chunks = list(source.chunks(["v"]))
    assert [(chunk.row, chunk.last_row) for chunk in chunks] == [([2, 3], 3), ([4, 5], 5), ([6], 6)]
    assert chunks[-1].done == source.size
    assert [chunk.row for chunk in source.chunks(["v"], after_row=3)] == [[4, 5], [6]]


def test_parquet_is_text_as_a_csv_would_be(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    moment = datetime(2024, 3, 1, 12, 30, tzinfo=UTC)
    pl.DataFrame(
        {"t": [moment], "local": [moment.replace(tzinfo=None)], "v": [0.1 + 0.2], "none": [None]}
    ).write_parquet(file)
    assert rows(file, ["t", "local", "v", "none"]) == [
        (1, "2024-03-01T12:30:00.000Z", "2024-03-01T12:30:00.000", "0.30000000000000004", "")
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "t,v\n1,\xe9\n".encode("latin-1"), "is not UTF-8"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"\xff", "not UTF-8 near line 1:"),
        ("a.csv.gz", b"t,v\n1,2\n", "can't be read near line 1:"),
        ("a.csv.gz", gzip.compress(b"t,v\n" + b"1,2\n" * 9999)[:-20], "can't be read"),
        ("a.parquet", b"t,v\n", "is not a Parquet file"),
        ("a.csv", b"t\n1\n", "has no column 'v'; it has 't'"),
    ],
)  # fmt: skip
def test_what_is_no_such_file_is_told(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(CityfeedError, match=said):
        list(Source.open(file, FileForm()).chunks(["v"]))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CityfeedError, match="No such file"):
        Source.open(tmp_path / "none.csv", FileForm())
    with pytest.raises(CityfeedError, match="is a folder; name a file"):
        Source.open(tmp_path, FileForm()).header()


def test_a_pipe_is_told_before_it_is_read(tmp_path: Path) -> None:
    """The header is looked for first, and then the rows: a pipe would give each a part of the file."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CityfeedError, match="is a pipe or a device, and is read more than once"):
        Source.open(tmp_path / "pipe", FileForm())


def test_a_column_that_is_there_twice_is_refused_where_it_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "twice.csv").write_text("t,v,v\n1,2,3\n")
    assert rows(tmp_path / "twice.csv", ["t"]) == [(2, "1")]
    with pytest.raises(CityfeedError, match="two columns are called 'v'"):
        rows(tmp_path / "twice.csv", ["t", "v"])
