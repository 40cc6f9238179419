from typing import Annotated

import msgspec
import pytest

from schemas.toml_files import TomlFile, key_lines


class Leaf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size: int
    span: tuple[float, float] | None = None
    few: Annotated[tuple[float, ...], msgspec.Meta(max_length=2)] = ()


class Tree(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    leaf: dict[str, Leaf | str] = {}
    branch: tuple[Leaf, ...] = ()
    least: Annotated[int, msgspec.Meta(ge=0)] = 0


def problems(text: str) -> list[str]:
    return TomlFile("f.toml", text, Tree).problems


def test_a_right_file_is_its_value() -> None:
    file = TomlFile("f.toml", 'name = "a"\n[leaf.x]\nsize = 1\nspan = [1, 2.5]\n[[branch]]\nsize = 2\n', Tree)
    assert file.problems == []
    assert file.value == Tree("a", {"x": Leaf(1, (1.0, 2.5))}, (Leaf(2),))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name = ", "f.toml:1: not TOML: Invalid value"),
        ('name = "a"\nname = "b"\n', "f.toml:2: not TOML: Cannot overwrite a value"),
        ('name = "a"\nleaf.x = {size', "f.toml:2: not TOML: "),
        ("name = " + "[" * 100_000, "f.toml:1: not TOML: "),
        ('name = "a"\n\nleast = "b"', "f.toml:3: least: expected `int`, got `str`"),
        ('name = "a"\nleast = -1', "f.toml:2: least: expected `int` >= 0"),
        ('name = "a"\nbark = 1', "f.toml:2: bark means nothing here; known are name, leaf, branch, least"),
        ("least = 1", "f.toml:1: name is missing; add it"),
        ('name = "a"\n[leaf.x]\n', "f.toml:2: leaf.x.size is missing; add it"),
        ('name = "a"\n[leaf.x]\nsize = 1\n[leaf.y]\nsize = "b"', "f.toml:5: leaf.y.size: expected `int`, got `str`"),
        ('name = "a"\n[leaf]\nx = {size = 1, siez = 2}', "f.toml:3: leaf.x.siez means nothing here; known are size"),
        ('name = "a"\n[leaf.x]\nsize = 1\nspan = [\n 1,\n "b"]', "f.toml:4: leaf.x.span[1]: expected `float`"),
        ('name = "a"\n[leaf.x]\nsize = 1\nspan = [1]', "f.toml:4: leaf.x.span: expected `array` of length 2, got 1"),
        ('name = "a"\n[leaf.x]\nsize = 1\nfew = [1, 2, 3]', "f.toml:4: leaf.x.few: expected `array` of length <= 2"),
        ('name = "a"\n[[branch]]\nsize = 1\n[[branch]]\nsize = "b"', "f.toml:5: branch[1].size: expected `int`"),
        ('name = "a"\nbranch = [1]', "f.toml:2: branch[0]: expected `table`, got `int`"),
        ('name = "a"\nbranch = 5', "f.toml:2: branch: expected `array`, got `int`"),
    ],
)  # fmt: skip
def test_a_mistake_alone_is_told_at_its_line(text: str, problem: str) -> None:
    found = problems(text)
    assert len(found) == 1, found
    assert found[0].startswith(problem)


def test_all_mistakes_are_told_at_once_and_nothing_twice() -> None:
    text = """
name = 4
bark = "rough"
[leaf.one]
size = "large"
span = ["a", "b"]
[leaf.two]
siez = 1
[[branch]]
size = 1
[[branch]]
[[branch]]
size = 1.5
"""
    found = problems(text)
    assert sorted(int(p.split(":")[1]) for p in found) == [2, 3, 5, 6, 6, 7, 8, 11, 13]
    assert len(set(found)) == len(found)


def test_complain_keeps_silent_of_what_is_known_to_be_wrong() -> None:
    file = TomlFile("f.toml", 'least = 1\n[leaf.x]\nsize = 1\nspan = ["a", 2]\n[leaf.y]\nsize = 0\n', Tree)
    assert file.value is not None, "good enough to find more"
    before = len(file.problems)
    file.complain(("name",), "a name must not be empty")  # it is missing
    file.complain(("leaf", "x", "span"), "low < high")  # a part of it is wrong
    file.complain(("leaf", "x", "span", 0), "below zero")
    assert len(file.problems) == before
    file.complain(("leaf", "y", "size"), "size must be positive")
    file.complain(("leaf", "y", "span"), "where no key is, its table is told")
    assert file.problems[before:] == [
        "f.toml:6: size must be positive",
        "f.toml:5: where no key is, its table is told",
    ]


def test_lines_of_keys() -> None:
    text = '''a = 1
b.c = 2

[ t . "quoted.key" ]  # comment
d = """
e = not a key
"""
'single' = [
  1,
]
[[s]]
f = { g = 1 }
[s.sub]
h = 1
[[s]]
f = 2
[[s.deep]]
i = 1
[[s.deep]]
i = 1
'''
    assert key_lines(text) == {
        ("a",): 1, ("b",): 2, ("b", "c"): 2, ("t", "quoted.key"): 4, ("t", "quoted.key", "d"): 5,
        ("t", "quoted.key", "single"): 8, ("s",): 11, ("s", 0): 11, ("s", 0, "f"): 12, ("s", 0, "sub"): 13,
        ("s", 0, "sub", "h"): 14, ("s", 1): 15, ("s", 1, "f"): 16, ("s", 1, "deep"): 17, ("s", 1, "deep", 0): 17,
        ("s", 1, "deep", 0, "i"): 18, ("s", 1, "deep", 1): 19, ("s", 1, "deep", 1, "i"): 20,
    }  # fmt: skip
