"""What a query may ask: `PARAMETERS` is the one table of query parameters, how each is read and described.

Repeated parameters are OR, different ones AND. To add a parameter: a field of `Asked`, an entry here, and its name
in the `Operation` of the routes that take it (`openapi.py`).
"""

import difflib
import functools
import zoneinfo
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from api.places import Bbox, parse_bbox
from api.problems import bad_parameter
from api.times import parse_moment
from schemas.errors import RequestError
from schemas.flags import Flag
from schemas.indices.advice import LANGUAGES
from schemas.indices.hourly import INDICES
from schemas.readings import METRIC_PATTERN, SENSOR_PATTERN, Origin


@dataclass(frozen=True)
class Width:
    """A window's width, and the range that a query without `from` covers. `stored`: made when its time is over; the
    others are made when they are asked for, from Monday and from the first of the month. `seconds` of a month: at most.
    """

    seconds: int
    default_range_s: int
    stored: bool = True


DAY_S = 86_400

WIDTHS: dict[str, Width] = {
    "1m": Width(60, DAY_S),
    "5m": Width(300, DAY_S),
    "15m": Width(900, DAY_S),
    "1h": Width(3600, 7 * DAY_S),
    "1d": Width(DAY_S, 31 * DAY_S),
    "1w": Width(7 * DAY_S, 366 * DAY_S, False),
    "1mo": Width(31 * DAY_S, 3 * 366 * DAY_S, False),
}

READINGS_DEFAULT_RANGE_S = DAY_S


@dataclass(frozen=True)
class Asked:
    """A query, read. What was not asked is None or empty; times are epoch ms UTC."""

    from_ms: int | None = None
    to_ms: int | None = None
    sensor: tuple[str, ...] = ()
    metric: tuple[str, ...] = ()
    bbox: Bbox | None = None
    flag: tuple[int, ...] = ()
    origin: tuple[int, ...] = ()
    width: str = "1h"
    limit: int | None = None
    cursor: str | None = None
    index: tuple[str, ...] = ()
    table: str | None = None
    latest: bool = False
    lang: str = "en"
    section: tuple[str, ...] = ()
    format: str | None = None
    fields: tuple[str, ...] = ()
    agg: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    tz: str | None = None
    gaps: bool = False
    as_of_ms: int | None = None
    q: str = ""
    category: str = ""
    department: str = ""
    data_type: str = ""
    of: str = "readings"
    after_row: int | None = None
    after_byte: int | None = None


@dataclass(frozen=True)
class Parameter:
    """A query parameter. `read` takes one value's text and raises `ValueError` with a sentence. `lists`: a value may
    hold several, with commas between them.
    """

    name: str
    field: str
    read: Callable[[str], Any]
    description: str
    schema: dict[str, Any]
    example: Any
    remedy: str
    repeats: bool = False
    lists: bool = False


def _sensor(text: str) -> str:
    if not SENSOR_PATTERN.fullmatch(text):
        raise ValueError(f"{text!r} is not a sensor id")
    return text


def _metric(text: str) -> str:
    if not METRIC_PATTERN.fullmatch(text):
        raise ValueError(f"{text!r} is not a metric's name")
    return text


def _flag(text: str) -> int:
    if text not in FLAGS:
        raise ValueError(f"{text!r} is not a flag")
    return int(text)


def _origin(text: str) -> int:
    if text not in ORIGINS:
        raise ValueError(f"{text!r} is not an origin")
    return ORIGINS[text]


def _width(text: str) -> str:
    if text not in WIDTHS:
        raise ValueError(f"there are no windows of width {text!r}")
    return text


def _index(text: str) -> str:
    if text not in INDICES:
        raise ValueError(f"there is no index {text!r}")
    return text


def _table(text: str) -> str:
    if text not in TABLES:
        raise ValueError(f"there is no table {text!r}")
    return text


def _yes(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text == "true"


def _lang(text: str) -> str:
    if text not in LANGUAGES:
        raise ValueError(f"there is no advice in {text!r}")
    return text


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not text.strip("0"):
        raise ValueError(f"{text[:40]!r} is not a whole number from 1 up")
    return int(text) if len(text) < 19 else 10**18  # more than a page holds, and so refused with the most it does


def _field(text: str) -> str:
    if not text.isidentifier() or not text.isascii():
        raise ValueError(f"{text!r} is not a field's name")
    return text


def _one_of(what: str, known: Collection[str]) -> Callable[[str], str]:
    def read_one(text: str) -> str:
        if text not in known:
            meant = nearest(text, known)
            raise ValueError(f"there is no {what} {text!r}" + (f"; did you mean {meant!r}?" if meant else ""))
        return text

    return read_one


HISTORY = ("readings", "windows", "index")
"""What can be exported; `history.NOUNS` says how."""
_history = _one_of("kind of history", HISTORY)


def _of(text: str) -> str:
    if text == "events":
        raise ValueError("there are no events yet: cityfeed stores readings, windows and indices")
    return _history(text)


zones = functools.cache(zoneinfo.available_timezones)


def _zone(text: str) -> str:
    if text not in zones():
        meant = nearest(text, zones())
        raise ValueError(f"there is no time zone {text!r}" + (f"; did you mean {meant!r}?" if meant else ""))
    return text


def _gaps(text: str) -> bool:
    if text not in GAPS:
        raise ValueError(f"{text!r} is neither show nor hide")
    return GAPS[text]


def _row(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 15:
        raise ValueError(f"{text!r} is not a whole number from 0 up")
    return int(text)


AGGREGATES = ("n", "n_expected", "coverage", "mean", "min", "max", "std", "p50", "p95", "first", "last", "complete")
GROUPS = ("sensor", "metric", "area")
GAPS = {"show": True, "hide": False}
TABLES = sorted({table for index in INDICES.values() for table in index.tables})
FLAGS = {str(int(flag)): flag.name.lower().replace("_", " ") for flag in Flag}
ORIGINS = {origin.name.lower(): int(origin) for origin in Origin}
_TIME = {"type": "string", "format": "date-time"}

PARAMETERS: dict[str, Parameter] = {
    p.name: p
    for p in (
        Parameter(
            "from", "from_ms", parse_moment,
            "Start of the range, inclusive, by the reading's or window's `start`: RFC 3339 with an offset "
            "(in a query, `+` is written `%2B`). Default: a stretch before `to` that `meta.from` shows.",
            _TIME, "2026-11-16T00:00:00Z", "from=2026-01-31T00:00:00Z",
        ),
        Parameter(
            "to", "to_ms", parse_moment, "End of the range, exclusive: RFC 3339 with an offset. Default: now.",
            _TIME, "2026-11-17T00:00:00Z", "to=2026-02-01T00:00:00Z",
        ),
        Parameter(
            "sensor", "sensor", _sensor, "Only these sensors; repeat it for several.",
            {"type": "array", "items": {"type": "string", "pattern": f"^{SENSOR_PATTERN.pattern}$"}},
            ["716328"], "One id a parameter, repeated for several: sensor=716328&sensor=716331", repeats=True,
        ),
        Parameter(
            "metric", "metric", _metric, "Only these metrics; repeat it for several.",
            {"type": "array", "items": {"type": "string", "pattern": f"^{METRIC_PATTERN.pattern}$"}},
            ["speed"], "One name a parameter, repeated for several: metric=speed&metric=volume", repeats=True,
        ),
        Parameter(
            "bbox", "bbox", parse_bbox,
            "Only what is inside, by the place that held when the reading was taken: `minLon,minLat,maxLon,maxLat` in "
            "degrees, edges included; minLon > maxLon crosses the antimeridian. Sensors without a place are left out.",
            {"type": "string"}, "-118.7,33.7,-117.6,34.4", "bbox=minLon,minLat,maxLon,maxLat, such as "
            "bbox=-118.7,33.7,-117.6,34.4",
        ),
        Parameter(
            "flag", "flag", _flag,
            "Only readings with these quality flags (QARTOD): "
            + ", ".join(f"{flag} {name}" for flag, name in FLAGS.items()) + "; repeat it for several.",
            {"type": "array", "items": {"type": "integer", "enum": [int(f) for f in FLAGS]}},
            [1, 3], "flag is one of " + ", ".join(FLAGS) + ", repeated for several: flag=1&flag=3", repeats=True,
        ),
        Parameter(
            "origin", "origin", _origin,
            "Only readings of this origin: `live` from a sensor, `import` from a file of history.",
            {"type": "array", "items": {"type": "string", "enum": list(ORIGINS)}},
            ["live"], "origin is one of " + ", ".join(ORIGINS), repeats=True,
        ),
        Parameter(
            "width", "width", _width,
            "Width of the windows. Weeks (from Monday) and months are made when they are asked for.",
            {"type": "string", "enum": list(WIDTHS), "default": "1h"}, "1h",
            "width is one of " + ", ".join(WIDTHS),
        ),
        Parameter(
            "agg", "agg", _one_of("aggregate", AGGREGATES),
            "Only these aggregates, beside the names and times; several with commas or repeated. Default: all.",
            {"type": "array", "items": {"type": "string", "enum": list(AGGREGATES)}}, ["mean", "max"],
            "agg is one or more of " + ", ".join(AGGREGATES) + ": agg=mean,max", repeats=True, lists=True,
        ),
        Parameter(
            "group", "group", _one_of("group", GROUPS),
            "Aggregate over all that this leaves together; `metric` always stays apart. `sensor` (the default): each "
            "series. `metric`: all sensors of a metric. `area`: all sensors of a metric in a cell of the map, named "
            "by its geohash of five characters (about 5 km).",
            {"type": "array", "items": {"type": "string", "enum": list(GROUPS)}}, ["sensor"],
            "group is one or more of " + ", ".join(GROUPS) + ": group=area", repeats=True, lists=True,
        ),
        Parameter(
            "tz", "tz", _zone,
            "Days, weeks and months of this time zone (IANA), 23 and 25 hours long where clocks change. Default: UTC.",
            {"type": "string"}, "America/Los_Angeles", "A name of the IANA time zone database: tz=America/Los_Angeles",
        ),
        Parameter(
            "fields", "fields", _field,
            "Only these fields, in this order; several with commas or repeated. Default: all.",
            {"type": "array", "items": {"type": "string"}}, ["sensor", "metric", "start"],
            "Names of the answer's fields, with commas: fields=sensor,metric,start", repeats=True, lists=True,
        ),
        Parameter(
            "gaps", "gaps", _gaps,
            "`show`: what was to be expected and is not there comes as a row of its own, with flag 9 and without a "
            "value. A reading's row has rev 0 and origin `none`, and stands at the slots of the series' cadence; a "
            "window's has n 0 and rev 0. The field `gap` says why: `none`, nobody sent it; `lost`, it came and was "
            "lost here (/v1/{dataset}/gaps). Where a sensor itself said that it has no value, the row is its own.",
            {"type": "string", "enum": list(GAPS), "default": "hide"}, "show", "gaps=show or gaps=hide",
        ),
        Parameter(
            "as_of", "as_of_ms", parse_moment,
            "The state as it was known then: without what came later, and with the revisions of that time. RFC 3339 "
            "with an offset, not in the future.",
            _TIME, "2026-11-20T00:00:00Z", "as_of=2026-01-31T00:00:00Z",
        ),
        Parameter(
            "index", "index", _index,
            "Only these indices: " + "; ".join(f"`{name}`: {index.title}" for name, index in INDICES.items())
            + ". Repeat it for several. Default: all of the dataset.",
            {"type": "array", "items": {"type": "string", "enum": list(INDICES)}},
            ["nowcast"], "index is one of " + ", ".join(INDICES), repeats=True,
        ),
        Parameter(
            "table", "table", _table,
            "By this table of the authority, named by its year, made again of the same averages. Default: the table "
            "in force on the row's day. Indices that do not have it stay as they are.",
            {"type": "string", "enum": list(TABLES)}, "2012", "table is one of " + ", ".join(TABLES),
        ),
        Parameter(
            "section", "section", _sensor, "Only these sections; repeat it for several.",
            {"type": "array", "items": {"type": "string", "pattern": f"^{SENSOR_PATTERN.pattern}$"}},
            ["us101-n"], "One id a parameter, repeated for several: section=us101-n&section=us101-s", repeats=True,
        ),
        Parameter(
            "latest", "latest", _yes,
            "`true`: the newest row of each sensor, index and metric, or section, with its age; `from` and `to` do not "
            "count.",
            {"type": "boolean", "default": False}, None, "latest=true",
        ),
        Parameter(
            "lang", "lang", _lang, "Language of category and advice.",
            {"type": "string", "enum": list(LANGUAGES), "default": "en"}, "en",
            "lang is one of " + ", ".join(LANGUAGES),
        ),
        Parameter(
            "of", "of", _of, "What is exported; the other parameters are those of its "
            "own address, without `limit` and `cursor`.",
            {"type": "string", "enum": list(HISTORY), "default": "readings"}, "readings",
            "of is one of " + ", ".join(HISTORY),
        ),
        Parameter(
            "after_row", "after_row", _row, "Not the state but the bytes that follow this row; 0 is the whole file.",
            {"type": "integer", "minimum": 0}, None, "after_row=0, or the number of rows that arrived whole.",
        ),
        Parameter(
            "after_byte", "after_byte", _row,
            "The same for any format, by bytes that arrived; the server makes those before once more for nobody.",
            {"type": "integer", "minimum": 0}, None, "after_byte=0, or the number of bytes that arrived.",
        ),
        Parameter(
            "limit", "limit", _limit, "Most rows of a page.", {"type": "integer", "minimum": 1}, 100, "limit=1000",
        ),
        Parameter(
            "cursor", "cursor", str,
            "Where to go on: taken from the `next` link of the page before, with the same filter. Opaque.",
            {"type": "string"}, None, "Follow the `next` link.",
        ),
        Parameter(
            "q", "q", str, "Only datasets that have all these words in title, description, keywords or metrics.",
            {"type": "string", "maxLength": 200}, "ozone", "q=ozone",
        ),
        Parameter(
            "category", "category", str, "Only datasets of this category.", {"type": "string"}, "Transport",
            "category=Transport",
        ),
        Parameter(
            "department", "department", str, "Only datasets of this department.", {"type": "string"}, "Transportation",
            "department=Transportation",
        ),
        Parameter(
            "type", "data_type", str, "Only datasets of this type: demographic, performance or operational.",
            {"type": "string"}, "operational", "type=operational",
        ),
        Parameter(
            "format", "format", str, "The answer's format; without it, Accept decides.", {"type": "string"}, None,
            "",
        ),
    )
}  # fmt: skip


def read(names: Collection[str], items: Iterable[tuple[str, str]]) -> Asked:
    """Read a query of a route that takes the parameters `names`.

    Raises `RequestError` 400 for an unknown parameter (it names the nearest), one that can't be read, and one
    given twice that takes one value. `format` and `limit` are checked where the route's formats and the settings
    are known (`formats.choose`, `paging.limit`).
    """
    values: dict[str, Any] = {}
    for name, text in items:
        if name not in names:
            raise _unknown(name, names)
        parameter = PARAMETERS[name]
        try:
            given = [parameter.read(part) for part in (text.split(",") if parameter.lists else [text])]
        except ValueError as e:
            raise bad_parameter(name, str(e), parameter.remedy) from None
        if parameter.repeats:
            values[parameter.field] = tuple(dict.fromkeys((*values.get(parameter.field, ()), *given)))
        elif parameter.field in values:
            raise RequestError(
                400, "repeated-parameter", "A parameter is given twice", f"{name} takes one value.", name,
                f"Give {name} once.",
            )  # fmt: skip
        else:
            (values[parameter.field],) = given
    return Asked(**values)


async def takes_none(request: Request) -> None:
    """Dependency of a route without parameters. Raises `RequestError` 400 for any."""
    read((), request.query_params.multi_items())


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant, None where none is near."""
    words = list(known)
    swapped = [other for other in words if sorted(other) == sorted(word.lower())]
    found = swapped or difflib.get_close_matches(word.lower(), words, 1, 0.6)
    return found[0] if found else None


def _unknown(name: str, names: Collection[str]) -> RequestError:
    meant = None if name in PARAMETERS else nearest(name, names)
    known = ", ".join(sorted(names)) or "none"
    return RequestError(
        400,
        "unknown-parameter",
        "Unknown parameter",
        f"There is no parameter {name!r} here." + (f" Did you mean {meant!r}?" if meant else ""),
        name,
        f"Parameters of this address: {known}." if meant is None else f"Use {meant!r}; all of them: {known}.",
    )
