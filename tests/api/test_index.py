"""Index rows as answers, without a database."""

from typing import Any

import msgspec
import numpy as np
import pytest

from api.index import Shown, as_stored, by_table, index_rows
from api.queries.indices import INDICES as TABLE
from api.rows import IndexRow, LatestIndexRow
from schemas.indices.stored import NONE, number

HOUR_MS = 3_600_000
START = 1_794_700_800_000  # 2026-11-15T00:00:00Z
NAMES = {1: ("roof", "nowcast", "pm25"), 2: ("roof", "nowcast", "overall"), 3: ("roof", "eaqi", "no2")}


def row(series: int, value: float = 57.0, **fields: Any) -> dict[str, Any]:
    return {
        "series": series, "start": START, "until": START + HOUR_MS, "value": value, "category": 1,
        "driver": number("pm25"), "source": number("pm25"), "edition": 2024, "concentration": 12.4,
        "supplement": np.nan, "hours": 9, "expected": 12, "beyond": False, "origin": 0, "rev": 2,
        "published": START + HOUR_MS + 1500,
    } | fields  # fmt: skip


NOTHING = {"value": np.nan, "category": -1, "driver": NONE, "source": NONE, "concentration": np.nan, "hours": 1}


def table(*rows: dict[str, Any]) -> Any:
    kinds = [("series", "i4")] + [
        (name, "i8" if kind == "M" else np.dtype(kind).newbyteorder("=")) for name, kind in TABLE.columns.items()
    ]
    return np.array([tuple(r[name] for name, _ in kinds) for r in rows], kinds)


def answered(rows: Any, shown: Shown | None = None, language: str = "en", **more: Any) -> list[dict[str, Any]]:
    kind = LatestIndexRow if more else IndexRow
    made = index_rows(kind, "air-quality", rows, NAMES, shown or as_stored(rows), language, **more)
    return [msgspec.structs.asdict(one) for one in made]


def test_a_row_names_all_that_it_is_made_of() -> None:
    (found,) = answered(table(row(1)))
    assert found["value"] == 57
    assert (found["category"], found["colour"]) == ("Moderate", "#FFFF00")
    assert (found["index"], found["table"], found["metric"], found["driver"]) == ("nowcast", "2024", "pm25", "pm25")
    assert (found["hours"], found["expected"], found["coverage"]) == (9, 12, 0.75)
    assert (found["averaging"], found["unit"], found["concentration"]) == ("NowCast of 12 hours", "ug/m3", 12.4)
    assert (found["start"], found["end"]) == ("2026-11-15T00:00:00.000Z", "2026-11-15T01:00:00.000Z")
    assert "cough" in found["children"]


def test_no_data_is_no_value_and_says_so_in_every_language() -> None:
    for language, category in (("en", "no data"), ("es", "sin datos"), ("fr", "pas de données")):
        (found,) = answered(table(row(1, **NOTHING)), language=language)
        assert (found["value"], found["colour"], found["driver"], found["source"]) == (None, None, None, None)
        assert found["category"] == category
        assert found["adults"] == found["children"]
        assert found["hours"] == 1


def test_advice_is_in_the_language_asked_for() -> None:
    (spanish,) = answered(table(row(1, category=3)), language="es")
    assert spanish["category"] == "Dañina"
    assert spanish["adults"].startswith("Reduzca")


@pytest.mark.parametrize(("hours", "stale"), [(2, False), (4, True)])
def test_the_newest_row_has_its_age(hours: int, stale: bool) -> None:
    (found,) = answered(table(row(1)), now_ms=START + HOUR_MS + hours * HOUR_MS)
    assert (found["age_s"], found["stale"]) == (hours * 3600, stale)


def test_another_table_scores_the_same_averages() -> None:
    rows = table(row(1), row(3, 4.0, category=3, driver=number("no2"), edition=2024))
    shown = by_table(rows, NAMES, "2012", [])
    assert shown.value.tolist() == [52, 4.0]
    assert shown.edition.tolist() == [2012, 2024]  # the European index has no table of 2012
    assert as_stored(rows).value.tolist() == [57, 4.0]


def test_another_table_makes_the_overall_row_of_the_pollutants_beside_it() -> None:
    """By the table of 2024 PM2.5 drives, by that of 2012 PM10 does."""
    rows = table(row(2), row(2, start=START + HOUR_MS))
    beside = [
        ("roof", "nowcast", "pm10", START, 56.0, np.nan),
        ("roof", "nowcast", "pm25", START, 12.0, np.nan),
    ]
    shown = by_table(rows, NAMES, "2012", beside)
    assert shown.value[0] == 51
    assert shown.driver.tolist() == [number("pm10"), NONE]
    assert np.isnan(shown.value[1])
    assert shown.category.tolist() == [1, -1]


def test_no_rows_are_no_rows() -> None:
    assert answered(table()) == []
    assert len(by_table(table(), NAMES, "2012", []).value) == 0
