"""What a dataset's entry tells: licence, schedule, search."""

import pytest

from api.catalog.entry import search
from api.catalog.facts import Facts
from tests.api.catalog.made import BASE_URL, FACTS, NOW_MS, entries, entry, later


def test_addresses() -> None:
    one = entry()
    assert (one.page_url, one.email) == (f"{BASE_URL}/catalog/air-quality", "mailto:opendata@city.example")
    assert one.licence_url == "https://creativecommons.org/licenses/by/4.0/"
    assert entry(licence="MIT").licence_url == "https://spdx.org/licenses/MIT.html"


def test_every_distribution_has_a_name_of_its_own() -> None:
    names = [one.name for one in entry().distributions()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("silent_s", "overdue"), [(60, False), (200, False), (209, False), (211, True)],  # 3 minutes and the usual 30 s
)  # fmt: skip
def test_overdue_after_three_intervals_and_the_usual_lateness(silent_s: int, overdue: bool) -> None:
    one = entry(facts=later(FACTS, modified_ms=NOW_MS - silent_s * 1000))
    assert one.is_overdue(NOW_MS) is overdue
    assert one.due_ms() == NOW_MS - silent_s * 1000 + 60_000


def test_a_dataset_that_never_had_anything_is_overdue() -> None:
    assert entry(facts=Facts()).is_overdue(NOW_MS) and entry(facts=Facts()).due_ms() is None


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ["air-quality", "traffic"]),
        ({"q": "OZONE"}, ["air-quality"]),
        ({"q": "road speed"}, ["traffic"]),
        ({"q": "ozone speed"}, []),
        ({"category": "transport"}, ["traffic"]),
        ({"department": "Environment", "q": "particles"}, ["air-quality"]),
        ({"data_type": "operational"}, ["air-quality", "traffic"]),
        ({"data_type": "demographic"}, []),
    ],
)  # fmt: skip
def test_search(asked: dict[str, str], found: list[str]) -> None:
    assert [one.id for one in search([one.dataset for one in entries()], **asked)] == found


def test_the_quality_score_shows_its_parts() -> None:
    """Lateness 30 s of 120 allowed; 98.7 % covered; one of five newest readings suspect."""
    known = later(FACTS, validity=0.9)
    found = entry(facts=known).quality()
    assert (found.completeness, found.timeliness, found.validity) == (0.987, 1.0, 0.9)
    assert found.score == 88.8
    slow = entry(facts=later(known, lateness_p99_s=480.0)).quality()
    assert (slow.timeliness, slow.score) == (0.25, 22.2)
    unknown = entry(facts=Facts()).quality()
    assert (unknown.score, unknown.completeness, unknown.timeliness, unknown.validity) == (None, None, None, None)
