"""The feed of changes: RFC 4287's required elements, ids that stay, dates that move."""

from xml.etree import ElementTree as ET

from api.catalog import atom
from api.queries.catalog import Day
from tests.api.catalog.made import BASE_URL, NOW_MS, entry

NS = {"a": atom.NAMESPACE}
DAY = NOW_MS - 86_400_000


def feed(*days: Day) -> ET.Element:
    return ET.fromstring(atom.feed({"air-quality": entry(title="Air & <water>")}, days, BASE_URL, "Town", NOW_MS))


def texts(root: ET.Element, path: str) -> list[str | None]:
    return [found.text for found in root.findall(path, NS)]


def test_a_feed_without_changes_is_a_feed() -> None:
    root = feed()
    assert root.tag == f"{{{atom.NAMESPACE}}}feed"
    assert all(texts(root, f"a:{name}") for name in ("id", "title", "updated"))
    assert texts(root, "a:entry") == []


def test_a_day_and_its_revision_are_one_entry_whose_date_moves() -> None:
    closed = feed(Day("air-quality", DAY, 1440, 0, 1, NOW_MS + 1000))
    revised = feed(Day("air-quality", DAY, 1441, 2, 3, NOW_MS + 9000))
    assert (
        texts(closed, "a:entry/a:id")
        == texts(revised, "a:entry/a:id")
        == ["tag:data.city.example,2026-11-22:air-quality"]
    )
    assert texts(closed, "a:entry/a:title") == ["Air & <water>: 2026-11-22 complete"]
    assert texts(revised, "a:entry/a:title") == ["Air & <water>: 2026-11-22 revised, 2 series changed"]
    assert texts(revised, "a:updated") == texts(revised, "a:entry/a:updated") == ["2026-11-23T00:00:09.000Z"]
    assert all(texts(revised, f"a:entry/a:{name}") for name in ("author/a:name", "summary"))


def test_a_dataset_that_is_gone_is_left_out() -> None:
    assert texts(feed(Day("removed", DAY, 1, 0, 1, NOW_MS)), "a:entry") == []
