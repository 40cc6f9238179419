"""Entries to make documents of."""

from dataclasses import replace

import msgspec

from api.catalog.entry import Entry
from api.catalog.facts import Facts
from schemas.city import City, parse_city

BASE_URL = "https://data.city.example"
NOW_MS = 1_795_392_000_000  # 2026-11-23T00:00:00Z
TOWN = 'name = "Town"\ntime_zone = "UTC"\nbbox = [0.0, 0.0, 1.0, 1.0]\nlanguages = ["en", "es"]\n'
FACTS = Facts(
    3,
    5,
    NOW_MS - 86_400_000 * 400,
    NOW_MS - 60_000,
    NOW_MS - 30_000,
    1.25,
    30.0,
    0.987,
    60.0,
    (-118.5, 33.9, -118.1, 34.3),
)


def city() -> City:
    return parse_city({"city.toml": TOWN})


def entry(dataset: str = "air-quality", facts: Facts = FACTS, **fields: object) -> Entry:
    known = city()
    return Entry(msgspec.structs.replace(known.datasets[dataset], **fields), facts, known, BASE_URL)


def entries() -> list[Entry]:
    """One that is full of readings, one that has none yet and is of high value."""
    hvd = "http://data.europa.eu/bna/c_dd313021"
    return [entry(), entry("traffic", Facts(), hvd_category=hvd)]


def later(facts: Facts, **fields: object) -> Facts:
    return replace(facts, **fields)  # type: ignore[arg-type]
