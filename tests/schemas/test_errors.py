"""The docstring of schemas/errors.py draws the tree of classes; here it is held to the real one."""

import re

import pytest

from schemas import errors
from schemas.errors import CityfeedError, CityFolderError, RequestError


def drawn_tree() -> dict[str, str]:
    """Class -> parent, from the drawing; the indentation of `+--` is the depth."""
    parents: dict[str, str] = {}
    at_depth = {0: "CityfeedError"}
    for match in re.finditer(r"^    ([ |]*)\+-- (\w+) ", errors.__doc__ or "", re.MULTILINE):
        depth = len(match[1]) // 4 + 1
        parents[match[2]] = at_depth[depth - 1]
        at_depth[depth] = match[2]
    return parents


def real_tree() -> dict[str, str]:
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, CityfeedError)]
    return {c.__name__: c.__mro__[1].__name__ for c in classes if c is not CityfeedError}


def test_the_drawn_tree_is_the_real_one() -> None:
    assert re.search(r"^    CityfeedError ", errors.__doc__ or "", re.MULTILINE)
    assert len(drawn_tree()) >= 7
    assert drawn_tree() == real_tree()


def test_every_error_is_told() -> None:
    for name in real_tree():
        assert getattr(errors, name).__doc__


def test_the_city_folder_error_says_all_of_its_problems() -> None:
    error = CityFolderError(["city.toml:1: a", "sensors.csv:2: b"])
    assert error.problems == ["city.toml:1: a", "sensors.csv:2: b"]
    assert "city.toml:1: a\nsensors.csv:2: b" in str(error)


def test_a_request_error_is_its_detail_and_is_itself_alone() -> None:
    error = RequestError(400, "limit", "Bad limit", "limit is 0", "limit", "between 1 and 10000")
    assert str(error) == "limit is 0"
    assert (error.status, error.kind, error.parameter, error.remedy) == (400, "limit", "limit", "between 1 and 10000")
    assert error != RequestError(400, "limit", "Bad limit", "limit is 0", "limit", "between 1 and 10000")
    assert error in {error}  # tracebacks and groups of exceptions put them in sets
    with pytest.raises(CityfeedError, match="limit is 0"):
        raise error
