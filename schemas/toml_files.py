"""TOML files as typed values, with every mistake in them at its line.

msgspec tells what is wrong and where, but stops at the first mistake. So what is wrong is put right by an empty
value of its type, and the whole is looked at again, until nothing is left to tell.
"""

import json
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")
Path = tuple[str | int, ...]
"""Keys and numbers of array elements, from the top: `("source", 0, "metrics", "PM2.5")`."""

_KEY = r"""(?:[\w-]+|"(?:\\.|[^"\\])*"|'[^']*')"""
_KEYS = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_TABLE = re.compile(rf"\s*(\[\[?)\s*({_KEYS})\s*\]")
_PAIR = re.compile(rf"\s*({_KEYS})\s*=")
_STEP = re.compile(r"\.(?P<field>\w+)|\[(?P<number>\d+)\]|\[(?P<any>\.\.\.)\]")
_EMPTY: dict[Any, Any] = {str: "", int: 0, float: 0.0, bool: False, datetime: datetime(1970, 1, 1, tzinfo=UTC)}


class TomlFile(Generic[T]):
    """A file read as a `kind`: its `value` and the `problems` found so far.

    `value` is None where the text is not TOML. Where `problems` is not empty it is not to be used but for finding
    more of them: `complain` says nothing of what is known to be wrong already.
    """

    def __init__(self, name: str, text: str, kind: type[T]) -> None:
        self.name = name
        self.value: T | None = None
        self.problems: list[str] = []
        self._lines = key_lines(text)
        self._wrong: list[Path] = []
        try:
            plain = tomllib.loads(text)
        except (ValueError, RecursionError) as e:  # ValueError: not TOML, or an integer of thousands of digits
            self.problems.append(f"{name}:{_not_toml(text, e)}")
            return
        self._read(plain, kind)

    def complain(self, path: Path, problem: str) -> None:
        """Add a problem with the value at `path`, unless that was found wrong before."""
        if not any(path[: len(wrong)] == wrong[: len(path)] for wrong in self._wrong):
            self.problems.append(f"{self.name}:{self.line(path)}: {problem}")

    def line(self, path: Path) -> int:
        """The line of a key, or of what holds it."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def _read(self, plain: dict[str, Any], kind: type[T]) -> None:
        while True:
            try:
                self.value = msgspec.convert(plain, kind)
                return
            except msgspec.ValidationError as e:
                path = _path_of(plain, kind, e)
                problem, _, _ = str(e).partition(" - at `")
                problem = problem.replace(" | null`", "`").replace("`object`", "`table`")  # TOML has no null
            key = re.search(r"(missing required|contains unknown) field `([^`]+)`", problem)
            if key is None:
                choices = typing.get_args(_kind_at(kind, path)) if problem.startswith("Invalid enum value") else ()
                problem += f"; there are {', '.join(choices)}" if choices else ""
                self.complain(path, f"{_dotted(path)}: {problem[:1].lower()}{problem[1:]}")
            else:
                path = (*path, key[2])
                if key[1] == "missing required":
                    self.complain(path, f"{_dotted(path)} is missing; add it")
                else:
                    known = ", ".join(typing.get_type_hints(_kind_at(kind, path[:-1])))
                    self.complain(path, f"{_dotted(path)} means nothing here; known are {known}")
            if path in self._wrong:  # our empty value is no better; say no more of this file
                return
            self._wrong.append(path)
            holder = _at(plain, path[:-1])
            if key and key[1] == "contains unknown":
                del holder[path[-1]]
            else:
                holder[path[-1]] = _empty(_kind_at(kind, path))


def _not_toml(text: str, error: ValueError | RecursionError) -> str:
    """Line and reason."""
    lines = text.split("\n")
    if isinstance(error, tomllib.TOMLDecodeError):
        line = re.search(r"at line (\d+)", str(error))
        return f"{line[1] if line else len(lines)}: not TOML: {error}"
    why = "nested too deeply" if isinstance(error, RecursionError) else "a number has too many digits"
    longest = max(range(len(lines)), key=lambda i: len(lines[i]))  # the parser names none; this one is rather meant
    return f"{longest + 1}: not TOML: {why}"


def key_lines(text: str) -> dict[Path, int]:
    """The line number (from 1) of each key and table of a TOML text that is written on a line of its own."""
    lines: dict[Path, int] = {}
    elements: dict[Path, int] = {}  # number of the newest element of each array of tables
    table: Path = ()
    inside = ""  # the quotes of a text that goes over several lines
    for number, line in enumerate(text.split("\n"), 1):
        if inside:
            inside = "" if line.count(inside) % 2 else inside
            continue
        if header := _TABLE.match(line):
            table = ()
            *parents, last = _unquoted(header[2])
            for key in parents:
                table += (key,)
                table += (elements[table],) if table in elements else ()
            table += (last,)
            if header[1] == "[[":
                lines.setdefault(table, number)
                elements[table] = elements.get(table, -1) + 1
                table += (elements[table],)
            lines.setdefault(table, number)
        elif pair := _PAIR.match(line):
            path = table
            for key in _unquoted(pair[1]):
                path += (key,)
                lines.setdefault(path, number)
        inside = next((quotes for quotes in ('"""', "'''") if line.count(quotes) % 2), "")
    return lines


def _unquoted(keys: str) -> Iterator[str]:
    for key in re.findall(_KEY, keys):
        try:
            yield json.loads(key) if key.startswith('"') else key.strip("'")
        except ValueError:
            yield key


def _dotted(path: Path) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


def _at(plain: Any, path: Path) -> Any:
    for key in path:
        plain = plain[key]
    return plain


def _path_of(plain: dict[str, Any], kind: type, error: msgspec.ValidationError) -> Path:
    """Where an error is. msgspec writes `[...]` for any key of a table; it is the one that has the error alone."""
    path: Path = ()
    for step in _STEP.finditer(str(error).rpartition(" - at `")[2] if " - at `" in str(error) else ""):
        if step["any"]:
            path += (next(k for k in _at(plain, path) if _error_with_only(plain, kind, path, k) == str(error)),)
        else:
            path += (step["field"] or int(step["number"]),)
    return path


def _error_with_only(plain: Any, kind: type, path: Path, key: str) -> str:
    try:
        msgspec.convert(_reduced(plain, path, key), kind)
    except msgspec.ValidationError as e:
        return str(e)
    return ""


def _reduced(plain: Any, path: Path, key: str) -> Any:
    """The same with only `key` left of the table at `path`."""
    if not path:
        return {key: plain[key]}
    first, *rest = path
    if isinstance(plain, list):
        return [_reduced(v, tuple(rest), key) if i == first else v for i, v in enumerate(plain)]
    return plain | {first: _reduced(plain[first], tuple(rest), key)}


def _kind_at(kind: Any, path: Path) -> Any:
    """The type that the value at `path` must have (of a union, the first that has such a part)."""
    for key in path:
        kind = _choice(kind)
        arguments = typing.get_args(kind)
        if not arguments:
            kind = typing.get_type_hints(kind)[str(key)]
        elif isinstance(key, str):
            kind = arguments[1]
        else:
            kind = arguments[0] if arguments[-1] is ... else arguments[key]
    return _choice(kind)


def _choice(kind: Any) -> Any:
    if typing.get_origin(kind) not in (types.UnionType, typing.Union):
        return kind
    choices = typing.get_args(kind)
    return next(filter(_has_parts, choices), choices[0])


def _has_parts(kind: Any) -> bool:
    return typing.get_origin(kind) in (dict, tuple) or (isinstance(kind, type) and issubclass(kind, msgspec.Struct))


def _empty(kind: Any) -> Any:
    """A plain value that a type takes."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints: Mapping[str, Any] = typing.get_type_hints(kind)
        return {f.name: _empty(hints[f.name]) for f in msgspec.structs.fields(kind) if f.required}
    if typing.get_origin(kind) is dict:
        return {}
    if typing.get_origin(kind) is tuple:
        return [] if typing.get_args(kind)[-1] is ... else [_empty(k) for k in typing.get_args(kind)]
    return _EMPTY.get(kind)
