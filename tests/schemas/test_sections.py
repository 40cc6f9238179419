import pytest

from schemas.city import parse_city
from schemas.errors import CityFolderError
from schemas.sections import Part

CITY = 'name = "X"\ntime_zone = "UTC"\nbbox = [0, 0, 1, 1]\n'
GOOD = """\
[[section]]
id = "north"
name = "North"
dataset = "traffic"
speed_limit_kmh = 90
parts = [{ sensor = "a", length_km = 1.5, lanes = 3 }, { sensor = "b", length_km = 0.5 }]
"""


def test_a_section_has_parts_with_length_and_lanes() -> None:
    (section,) = parse_city({"city.toml": CITY, "sections.toml": GOOD}).sections
    assert section.parts == (Part("a", 1.5, 3), Part("b", 0.5, 1))
    assert section.speed_limit_kmh == 90
    assert parse_city({"city.toml": CITY}).sections == ()


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ('id = "north"', 'id = "no rth"', 2, "section id 'no rth' must be of the form"),
        ('"traffic"', '"trafic"', 4, "there is no dataset 'trafic'; there are air-quality, traffic"),
        ("length_km = 1.5", "length_km = 0", 6, "a: length_km must be above 0"),
        ("lanes = 3", "lanes = 0", 6, "a: length_km must be above 0, lanes at least 1"),
        ("limit_kmh = 90", "limit_kmh = -1", 5, "speed_limit_kmh must be above 0"),
        ("name = ", "nom = ", 1, "name is missing"),
    ],
)
def test_mistakes_are_told_with_their_line(old: str, new: str, line: int, says: str) -> None:
    with pytest.raises(CityFolderError) as caught:
        parse_city({"city.toml": CITY, "sections.toml": GOOD.replace(old, new, 1)})
    assert any(p.startswith(f"sections.toml:{line}: ") and says in p for p in caught.value.problems), caught.value


def test_a_section_that_is_there_twice_is_a_mistake() -> None:
    with pytest.raises(CityFolderError, match=r"sections.toml:8: section 'north' is there twice"):
        parse_city({"city.toml": CITY, "sections.toml": GOOD + GOOD})
