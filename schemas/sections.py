"""Road sections of the city folder: sections.toml.

    [[section]]
    id = "us101-n"
    name = "US-101 north, Vermont to Echo Park"
    dataset = "traffic"
    speed_limit_kmh = 105
    parts = [
        { sensor = "716328", length_km = 1.2, lanes = 4 },
        { sensor = "716331", length_km = 0.9, lanes = 4 },
    ]

A part is the stretch that one sensor stands for. Without the file, and for sensors in no section, each sensor is a
section of its own, without a length.
"""

from collections.abc import Collection, Iterator

import msgspec

from schemas.readings import SENSOR_PATTERN
from schemas.toml_files import Path


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The stretch that a sensor stands for."""

    sensor: str
    length_km: float
    lanes: int = 1


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A section of road in one direction."""

    id: str
    name: str
    dataset: str
    parts: tuple[Part, ...]
    speed_limit_kmh: float | None = None


class Sections(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """sections.toml: `[[section]]` tables."""

    section: tuple[Section, ...] = ()


def mistakes(sections: Sections, datasets: Collection[str]) -> Iterator[tuple[Path, str]]:
    """What is wrong with sections: place in the file, sentence."""
    seen: set[str] = set()
    for number, section in enumerate(sections.section):
        at: Path = ("section", number)
        if not SENSOR_PATTERN.fullmatch(section.id):
            yield (*at, "id"), f"section id {section.id!r} must be of the form {SENSOR_PATTERN.pattern}"
        elif section.id in seen:
            yield (*at, "id"), f"section {section.id!r} is there twice"
        seen.add(section.id)
        if section.dataset not in datasets:
            yield (*at, "dataset"), f"there is no dataset {section.dataset!r}; there are {', '.join(sorted(datasets))}"
        if not section.parts:
            yield (*at, "parts"), f"section {section.id!r} has no parts; give it sensors with length_km"
        for part in section.parts:
            if not part.length_km > 0 or part.lanes < 1:
                yield (*at, "parts"), f"{part.sensor}: length_km must be above 0, lanes at least 1"
        if section.speed_limit_kmh is not None and not section.speed_limit_kmh > 0:
            yield (*at, "speed_limit_kmh"), "speed_limit_kmh must be above 0"
