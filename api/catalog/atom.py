"""The feed of changes (Atom, RFC 4287): days that were closed, and days that late or corrected readings changed."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

from api.catalog.entry import Entry
from api.live.messages import rfc3339
from api.queries.catalog import Day

DAY_MS = 86_400_000
NAMESPACE = "http://www.w3.org/2005/Atom"
MEDIA_TYPE = "application/atom+xml"


def feed(entries: Mapping[str, Entry], days: Sequence[Day], base_url: str, city: str, now_ms: int) -> bytes:
    """The feed; the newest change first."""
    root = ET.Element("feed", {"xmlns": NAMESPACE})
    url = f"{base_url}/catalog/changes.atom"
    _text(root, "id", url)
    _text(root, "title", f"Changes of the open data of {city}")
    _text(root, "updated", rfc3339(max((day.published_ms for day in days), default=now_ms // DAY_MS * DAY_MS)))
    ET.SubElement(root, "link", {"rel": "self", "type": MEDIA_TYPE, "href": url})
    ET.SubElement(root, "link", {"rel": "alternate", "type": "text/html", "href": f"{base_url}/catalog"})
    for day in days:
        if day.dataset in entries:
            _entry(root, entries[day.dataset], day)
    made: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return made


def _entry(root: ET.Element, entry: Entry, day: Day) -> None:
    date = datetime.fromtimestamp(day.start_ms / 1000, UTC).strftime("%Y-%m-%d")
    made = ET.SubElement(root, "entry")
    host = urlsplit(entry.base_url).hostname or "localhost"
    # The id is the day's for ever; `updated` moves when the day is revised.
    _text(made, "id", f"tag:{host},{date}:{entry.dataset.id}")
    state = f"revised, {day.revised} series changed" if day.revised else "complete"
    _text(made, "title", f"{entry.dataset.title}: {date} {state}")
    _text(made, "updated", rfc3339(day.published_ms))
    author = ET.SubElement(made, "author")
    _text(author, "name", entry.dataset.publisher)
    api = f"{entry.base_url}/v1/{entry.dataset.id}"
    next_day = rfc3339(day.start_ms + DAY_MS)
    href = f"{api}/windows?width=1d&from={rfc3339(day.start_ms)}&to={next_day}"
    ET.SubElement(made, "link", {"rel": "alternate", "type": "application/json", "href": href})
    ET.SubElement(made, "category", {"term": "revision" if day.revised else "day"})
    _text(made, "summary", f"{day.readings:,} readings counted in the UTC day {date}; highest revision {day.rev}.")


def _text(parent: ET.Element, name: str, text: str) -> None:
    ET.SubElement(parent, name).text = text
