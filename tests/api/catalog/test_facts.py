"""What is measured from memory, and that the catalog goes on without the database."""

import msgspec

from api.catalog.facts import CatalogFacts, Facts, measure
from api.live.latest import Latest, LatestRow
from api.queries.pool import make_pool
from schemas.city import parse_city
from schemas.registry import Registration, Registry, Site, fold
from schemas.settings import Secret, Settings
from tests.api.catalog.made import NOW_MS, TOWN


def row(sensor: str, late_s: float, origin: int = 0) -> LatestRow:
    start = NOW_MS - 120_000
    return LatestRow(
        "air-quality", sensor, "pm25", "ug/m3", start, 60, 5.0, 1, 0, 1, origin, start + 60_000 + int(late_s * 1000)
    )


def registry(*registrations: Registration) -> Registry:
    return fold(parse_city({"city.toml": TOWN}).datasets, registrations)


def placed(sensor: str, lon: float, lat: float, precision_m: int = 0, valid_to: int | None = None) -> Registration:
    site = Site(lon=lon, lat=lat)
    return Registration("air-quality", sensor, None, valid_to, site, public_precision_m=precision_m)


def test_nothing_is_known_of_what_never_spoke() -> None:
    assert measure([], registry(), "air-quality", NOW_MS) == Facts()
    assert measure([], registry(placed("a", 1.0, 2.0)), "air-quality", NOW_MS) == Facts(
        1, bbox=(0.999, 1.999, 1.001, 2.001)
    )


def test_lateness_is_from_the_end_of_a_reading_to_its_receipt() -> None:
    found = measure([row("a", 1.0), row("b", 3.0), row("c", 1000.0, origin=1)], registry(), "air-quality", NOW_MS)
    assert (found.lateness_p50_s, found.lateness_p99_s) == (2.0, 2.98)
    assert (found.sensors, found.series, found.newest_ms) == (3, 3, NOW_MS - 60_000)
    assert found.modified_ms == NOW_MS - 60_000 + 1_000_000


def test_validity_counts_suspect_readings_half_and_failed_ones_not() -> None:
    good, suspect, failed = row("a", 1.0), row("b", 1.0), row("c", 1.0)
    rows = [good, msgspec.structs.replace(suspect, flag=3), msgspec.structs.replace(failed, newer_failed=NOW_MS)]
    assert measure(rows, registry(), "air-quality", NOW_MS).validity == 0.5


def test_the_box_is_of_public_places_that_are_of_today() -> None:
    known = registry(
        placed("a", -118.4321, 34.0567, 10_000),
        placed("b", -100.0, 30.0, valid_to=NOW_MS - 1),
        placed("c", -118.0, 34.5),
    )
    exact = measure([], registry(placed("a", -118.43219, 34.05671), placed("b", 179.9999, 90.0)), "air-quality", NOW_MS)
    assert exact.bbox == (-118.433, 34.056, 180.0, 90.0), "no sensor is outside, and no degree is there that is none"
    box = measure([], known, "air-quality", NOW_MS).bbox
    assert box is not None and box[0] != -118.4321 and abs(box[0] + 118.4321) < 0.1  # on its grid
    assert box[1:] == (box[1], -118.0, 34.5)


async def test_without_a_database_memory_is_told_and_it_is_not_asked_at_once_again() -> None:
    latest = Latest()
    latest.load([row("a", 1.0)])
    pool = make_pool(Settings(database_url=Secret("postgresql://nobody@127.0.0.1:9/none")))
    facts = CatalogFacts()
    found = await facts.facts(pool, latest, registry(), ["air-quality"], NOW_MS)
    assert (found["air-quality"].series, found["air-quality"].first_ms) == (1, None)
    assert await facts.days(pool, ["air-quality"], NOW_MS + 1000) == []
