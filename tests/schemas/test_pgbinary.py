"""PostgreSQL's binary formats against its manual, against damage, and against a real PostgreSQL."""

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from schemas import pgbinary
from schemas.settings import Settings

Columns = dict[str, tuple[str, Any]]

POSTGRES_FIRST_MS = -210_866_803_200_000  # 4714-11-24 BC, 00:00 UTC: the first that timestamptz takes
POSTGRES_LAST_MS = 9_224_318_015_999_999  # and the last, 294276-12-31T23:59:59.999Z

DTYPES = {"int2": "i2", "int4": "i4", "int8": "i8", "float8": "f8", "timestamptz": "i8", "bool": "?"}
ELEMENTS: dict[str, Any] = {
    kind: st.integers(POSTGRES_FIRST_MS, POSTGRES_LAST_MS) if kind == "timestamptz" else hnp.from_dtype(np.dtype(dtype))
    for kind, dtype in DTYPES.items()
}


@st.composite
def tables(draw: st.DrawFn) -> Columns:
    """Some columns of any kinds, of one length."""
    kinds = draw(st.lists(st.sampled_from(sorted(pgbinary.KINDS)), min_size=1, max_size=6))
    n = draw(st.integers(0, 5))
    return {
        f"c{i}": (kind, draw(hnp.arrays(DTYPES[kind], n, elements=ELEMENTS[kind], fill=st.nothing())))
        for i, kind in enumerate(kinds)
    }


def kinds_of(columns: Columns) -> dict[str, str]:
    return {name: kind for name, (kind, _) in columns.items()}


def assert_loaded(loaded: dict[str, Any], columns: Columns) -> None:
    assert list(loaded) == list(columns)
    for name, (_, values) in columns.items():
        np.testing.assert_array_equal(loaded[name], values, err_msg=name)
        assert loaded[name].dtype == values.dtype and loaded[name].dtype.isnative


def test_every_kind_is_tried() -> None:
    assert set(DTYPES) == set(pgbinary.KINDS)


def test_the_bytes_are_those_of_the_manual() -> None:
    body = pgbinary.dump({"a": ("int4", np.array([1, -2])), "t": ("timestamptz", np.array([946_684_800_001, 0]))})
    rows = b"".join(
        struct.pack(">h i i i q", 2, 4, a, 8, us) for a, us in ((1, 1000), (-2, -946_684_800_000_000))
    )  # fmt: skip
    assert body == b"PGCOPY\n\xff\r\n\0" + bytes(8) + rows + b"\xff\xff"


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        pgbinary.dump({"a": ("int4", np.arange(3)), "b": ("int4", np.arange(2))})


def array(kind: int, width: int, *values: bytes) -> bytes:
    """As `array_send` writes it."""
    elements = b"".join(struct.pack(">i", width) + value for value in values)
    return struct.pack(">iii ii", 1, 0, kind, len(values), 1) + elements


INTEGERS = array(23, 4, *(struct.pack(">i", n) for n in (7, -2, 0)))


def test_an_array_is_loaded() -> None:
    assert pgbinary.load(INTEGERS, "int4").tolist() == [7, -2, 0]
    times = array(1184, 8, struct.pack(">q", 1000), struct.pack(">q", -946_684_800_000_000))
    assert pgbinary.load(times, "timestamptz").tolist() == [946_684_800_001, 0]


@pytest.mark.parametrize("kind", DTYPES)
def test_no_rows_and_an_empty_array_are_empty_columns(kind: str) -> None:
    empty = struct.pack(">iii", 0, 0, pgbinary.KINDS[kind][2])
    for given_array in (None, empty):
        loaded = pgbinary.load(given_array, kind)
        assert (len(loaded), loaded.dtype) == (0, np.dtype(DTYPES[kind])) and loaded.dtype.isnative


@pytest.mark.parametrize("length", range(len(INTEGERS)))
def test_an_array_cut_off_at_any_byte_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="cut off"):
        pgbinary.load(INTEGERS[:length], "int4")


@pytest.mark.parametrize("kind", sorted(set(DTYPES) - {"int4"}))
def test_an_array_of_another_kind_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=f"not of {kind}"):
        pgbinary.load(INTEGERS, kind)


@given(st.data())
def test_a_damaged_array_is_loaded_or_a_value_error(data: st.DataObject) -> None:
    damaged = bytearray(INTEGERS)
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert len(pgbinary.load(bytes(damaged), "int4")) == 3
    except ValueError:
        return


# --- by_nulls --------------------------------------------------------------------------------------------------


@given(st.integers(1, 3).flatmap(lambda k: hnp.arrays(bool, st.tuples(st.just(k), st.integers(0, 9)))))
def test_rows_by_what_is_null_are_all_rows_once(nulls: Any) -> None:
    groups = pgbinary.by_nulls(list(nulls))
    patterns = [pattern for pattern, _ in groups]
    assert len(set(patterns)) == len(patterns)
    assert sorted(row for _, rows in groups for row in rows) == list(range(nulls.shape[1]))
    for pattern, rows in groups:
        assert len(rows)
        assert all(tuple(nulls[:, row]) == pattern for row in rows)


# --- PostgreSQL ------------------------------------------------------------------------------------------------

EXTREMES: Columns = {
    "i2": ("int2", np.array([-(2**15), 2**15 - 1, 0, -1], "i2")),
    "i4": ("int4", np.array([-(2**31), 2**31 - 1, 0, -1], "i4")),
    "i8": ("int8", np.array([-(2**63), 2**63 - 1, 0, -1], "i8")),
    "f8": ("float8", np.array([np.nan, -np.inf, 1.7976931348623157e308, -5e-324])),
    "t": ("timestamptz", np.array([POSTGRES_FIRST_MS, POSTGRES_LAST_MS, 0, 1_769_860_800_001])),
    "b": ("bool", np.array([True, False, True, False])),
}


@pytest.fixture(scope="module")
def connection(servers: Settings) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(str(servers.database_url), autocommit=True) as made:
        made.execute("SET timezone TO 'UTC'")
        yield made


def make_table(connection: psycopg.Connection[Any], columns: Columns) -> None:
    definition = ", ".join(f"{name} {kind}" for name, (kind, _) in columns.items())
    connection.execute("DROP TABLE IF EXISTS pg_temp.copied")
    connection.execute(f"CREATE TEMPORARY TABLE copied (row serial, {definition})".encode())


def copy_in(connection: psycopg.Connection[Any], columns: Columns) -> None:
    statement = f"COPY copied ({', '.join(columns)}) FROM STDIN (FORMAT binary)".encode()
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(pgbinary.dump(columns))


def columns_of(connection: psycopg.Connection[Any], columns: Columns) -> dict[str, Any]:
    """What is in the table, as `Database.columns` asks for it."""
    aggregates = ", ".join(f"array_agg({name})" for name in columns)
    with connection.cursor(binary=True) as cursor:
        cursor.execute(f"SELECT {aggregates} FROM (SELECT * FROM copied ORDER BY row) AS q".encode(), prepare=False)
        result = cursor.pgresult
        assert result is not None
        return {
            name: pgbinary.load(result.get_value(0, i), kind) for i, (name, (kind, _)) in enumerate(columns.items())
        }


@given(tables())
def test_what_was_copied_in_is_loaded_to_the_same(connection: psycopg.Connection[Any], columns: Columns) -> None:
    make_table(connection, columns)
    copy_in(connection, columns)
    assert_loaded(columns_of(connection, columns), columns)


def test_postgresql_takes_and_gives_every_kind_at_its_extremes(connection: psycopg.Connection[Any]) -> None:
    make_table(connection, EXTREMES)
    copy_in(connection, EXTREMES)
    assert_loaded(columns_of(connection, EXTREMES), EXTREMES)


def test_postgresql_reads_what_was_meant(connection: psycopg.Connection[Any]) -> None:
    """By its own texts, so that a mistake made there and back would show."""
    make_table(connection, EXTREMES)
    copy_in(connection, EXTREMES)
    rows = connection.execute("SELECT i2, i4, i8, f8::text, t::text, b FROM copied ORDER BY row").fetchall()
    assert rows == [
        (-32768, -2147483648, -9223372036854775808, "NaN", "4714-11-24 00:00:00+00 BC", True),
        (32767, 2147483647, 9223372036854775807, "-Infinity", "294276-12-31 23:59:59.999+00", False),
        (0, 0, 0, "1.7976931348623157e+308", "1970-01-01 00:00:00+00", True),
        (-1, -1, -1, "-5e-324", "2026-01-31 12:00:00.001+00", False),
    ]


def test_postgresql_times_are_floored_to_the_millisecond(connection: psycopg.Connection[Any]) -> None:
    connection.execute("DROP TABLE IF EXISTS pg_temp.copied")
    connection.execute("CREATE TEMPORARY TABLE copied (row serial, t timestamptz)")
    connection.execute(
        "INSERT INTO copied (t) VALUES ('2026-01-31 12:00:00.001999+00'), ('1999-12-31 23:59:59.999001+00'),"
        " ('1960-01-01 00:00:00.000001+00')"
    )
    loaded = columns_of(connection, {"t": ("timestamptz", None)})
    assert loaded["t"].tolist() == [1_769_860_800_001, 946_684_799_999, -315_619_200_000]


def test_postgresql_gives_no_rows(connection: psycopg.Connection[Any]) -> None:
    make_table(connection, EXTREMES)
    loaded = columns_of(connection, EXTREMES)
    assert all(len(column) == 0 for column in loaded.values())


@pytest.mark.parametrize("null", ["i2", "i8", "f8", "t", "b"])
@pytest.mark.parametrize("row", [1, 4])
def test_a_null_is_a_clear_value_error(connection: psycopg.Connection[Any], null: str, row: int) -> None:
    make_table(connection, EXTREMES)
    copy_in(connection, EXTREMES)
    connection.execute(f"UPDATE copied SET {null} = NULL WHERE row = {row}".encode())
    with pytest.raises(ValueError, match="null"):
        columns_of(connection, EXTREMES)
