"""Pages for people: nothing in a description becomes markup, and the JSON-LD stays inside its element."""

import re

import msgspec

from api.catalog import pages
from tests.api.catalog.made import NOW_MS, entries, entry

NOTHING = {"q": "", "category": "", "department": "", "data_type": ""}
EVIL = "</script><script>alert(1)</script><b>"


def test_the_list_shows_what_was_asked_and_what_is_overdue() -> None:
    page = pages.browse(entries()[1:], entries(), NOTHING | {"q": 'road "x"', "category": "Transport"}, "Town", NOW_MS)
    assert "1 of 2 datasets" in page and '<strong class="overdue">overdue</strong>' in page
    assert 'value="road &#34;x&#34;"' in page and "<option selected>Transport</option>" in page
    assert "Nothing matches" in pages.browse([], entries(), NOTHING, "Town", NOW_MS)


def test_a_dataset_tells_declared_and_measured() -> None:
    page = pages.dataset(entry(), NOW_MS)
    for said in (
        "CC-BY-4.0",
        "1.25 s, 30 s",
        "98.7%",
        "2026-11-22 23:59 UTC",
        "<code>pm25</code>",
        "export?of=readings&amp;format=csv",
        "<code>live</code> from a sensor",
    ):
        assert said in page
    assert "Overdue" not in page and "`" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_nothing_in_a_description_becomes_markup() -> None:
    page = pages.dataset(entry(description=EVIL, title=EVIL), NOW_MS)
    assert "<b>" not in page and page.count("<script") == 1 == page.count("</script>")
    (json_ld,) = re.findall(r'<script type="application/ld\+json">(.*?)</script>', page, re.DOTALL)
    assert msgspec.json.decode(json_ld)["name"] == EVIL
