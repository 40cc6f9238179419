"""A page's rows of windows: those stored (and for those revised since the first page, as they were then), and
readings whose period is the width asked for: such a reading is a window itself and is not stored twice.
"""

from api.queries.pages import Filter, Table
from api.queries.readings import COVERED, IN_DAY, IN_SLOT, LOST, SLOTS, STORED
from api.times import DAY_MS

_PUBLISHED = "{row}.out_seq <= (%(published)s::bigint[])[{row}.part + 1]"
_WIDTH = "{row}.width_s = %(width_s)s"

# Binary rows of one length have no nulls: NaN and -1 stand for them.
_COLUMNS = "{row}.start, {row}.n, coalesce({row}.n_expected, -1) AS n_expected, " + ", ".join(
    f"coalesce({{row}}.{name}, 'NaN') AS {name}"
    for name in ("coverage", "mean", "min", "max", "std", "p50", "p95", "first", "last")
) + ", {row}.complete, {row}.rev, {row}.published"  # fmt: skip

_NOW = f"""
    SELECT {_COLUMNS} FROM windows AS {{row}}
    WHERE {IN_DAY} AND {_WIDTH} AND {_PUBLISHED} AND NOT {{row}}.gone
    ORDER BY {{row}}.start LIMIT %(limit)s""".format(row="w")

_THEN = f"""
    SELECT {_COLUMNS} FROM windows_history AS {{row}}
    WHERE {IN_DAY} AND {_WIDTH} AND {_PUBLISHED} AND NOT {{row}}.gone
      AND EXISTS (SELECT FROM windows w WHERE w.series = {{row}}.series AND w.width_s = {{row}}.width_s
                  AND w.start = {{row}}.start AND w.start >= %(lowest)s AND w.start < %(highest)s
                  AND NOT coalesce({_PUBLISHED.format(row="w")}, false))
      AND NOT EXISTS (SELECT FROM windows_history g WHERE g.series = {{row}}.series AND g.width_s = {{row}}.width_s
                      AND g.start = {{row}}.start AND g.rev > {{row}}.rev
                      AND {_PUBLISHED.format(row="g")})""".format(row="h")

# The day's first or last reading says whether the series has this period: otherwise a day of hours would read
# every reading of the day to find none.
_PERIOD = f"(SELECT a.period_s FROM readings a WHERE {IN_DAY.format(row='a')} ORDER BY a.start {{way}} LIMIT 1)"

_ITSELF = f"""
    SELECT {{row}}.start, own.n, 1, own.n::float8, own.value, own.value, own.value,
           CASE own.n WHEN 1 THEN 0.0::float8 ELSE 'NaN' END, own.value, own.value, own.value, own.value,
           own.n = 1, {{row}}.rev, {{row}}.received
    FROM readings AS {{row}}
    CROSS JOIN LATERAL (
        SELECT CASE WHEN {{row}}.flag IN (1, 2, 3) AND {{row}}.value <> 'NaN' THEN 1 ELSE 0 END AS n
    ) AS counted
    CROSS JOIN LATERAL (
        SELECT counted.n, CASE counted.n WHEN 1 THEN {{row}}.value ELSE 'NaN' END AS value
    ) AS own
    WHERE %(width_s)s IN ({_PERIOD.format(way="ASC")}, {_PERIOD.format(way="DESC")})
      AND {IN_DAY} AND {{row}}.period_s = %(width_s)s AND {STORED}
    ORDER BY {{row}}.start LIMIT %(limit)s""".format(row="r")

_KNOWN_NOW = f"""
    SELECT {_COLUMNS} FROM windows AS {{row}}
    WHERE {IN_DAY} AND {_WIDTH} AND {_PUBLISHED} AND {{row}}.published <= %(as_of)s
      AND NOT {{row}}.gone
      AND NOT EXISTS (SELECT FROM windows_history g WHERE g.series = {{row}}.series AND g.width_s = {{row}}.width_s
                      AND g.start = {{row}}.start AND g.known_to > %(as_of)s)
    ORDER BY {{row}}.start LIMIT %(limit)s""".format(row="w")

_KNOWN_THEN = f"""
    SELECT {_COLUMNS} FROM windows_history AS {{row}}
    WHERE {IN_DAY} AND {_WIDTH} AND {_PUBLISHED} AND {{row}}.published <= %(as_of)s AND {{row}}.known_to > %(as_of)s
      AND NOT {{row}}.gone
      AND NOT EXISTS (SELECT FROM windows_history g WHERE g.series = {{row}}.series AND g.width_s = {{row}}.width_s
                      AND g.start = {{row}}.start AND g.rev < {{row}}.rev AND g.known_to > %(as_of)s)""".format(row="h")

_ITSELF_KNOWN = _ITSELF.replace(
    "ORDER BY r.start LIMIT",
    """AND r.received <= %(as_of)s
      AND NOT EXISTS (SELECT FROM readings_history g WHERE g.series = r.series AND g.start = r.start
                      AND g.known_to > %(as_of)s)
    ORDER BY r.start LIMIT""",
)

# Windows of the width in which no reading starts; readings as wide as the window are windows themselves.
_IN_WINDOW = IN_SLOT.format(row="{row}", step="%(width_s)s")
_GAPS = f"""
    SELECT slot.at, 0, round(%(width_s)s::numeric / pair.step)::integer, 0.0::float8,
           {", ".join(["'NaN'::float8"] * 8)},
           false, CASE WHEN {LOST.format(step="%(width_s)s", due="0")} THEN -1 ELSE 0 END, '-infinity'::timestamptz
    FROM {SLOTS.format(step="%(width_s)s")}
    WHERE pair.step BETWEEN 1 AND %(width_s)s AND slot.at + %(width_s)s * interval '1 second' <= pair.last_due
      AND NOT EXISTS (SELECT FROM readings r WHERE {_IN_WINDOW.format(row="r")} AND {{known_now}})
      AND NOT EXISTS (SELECT FROM readings_history h WHERE {_IN_WINDOW.format(row="h")} AND {{known_then}})
      AND NOT {COVERED.format(table="readings", row="r", step="%(width_s)s", known="{known_now}")}
      AND NOT {COVERED.format(table="readings_history", row="h", step="%(width_s)s", known="{known_then}")}"""

_GAPS_NOW = _GAPS.format(known_now=STORED.format(row="r"), known_then=STORED.format(row="h"))
_GAPS_THEN = _GAPS.format(
    known_now=f"{STORED.format(row='r')} AND r.received <= %(as_of)s",
    known_then=f"{STORED.format(row='h')} AND h.received <= %(as_of)s",
)


_OTHERS = """EXISTS (SELECT FROM windows_history AS h WHERE h.series = %(series)s AND h.width_s = %(width_s)s
                     AND h.start >= {day} AND h.start < {day} + interval '1 day')
    OR EXISTS (SELECT FROM readings AS r WHERE r.series = %(series)s AND r.period_s = %(width_s)s
               AND r.start >= {day} AND r.start < {day} + interval '1 day')"""


def _branches(chosen: Filter) -> str:
    parts = [_NOW, _THEN, _ITSELF] if chosen.as_of_ms is None else [_KNOWN_NOW, _KNOWN_THEN, _ITSELF_KNOWN]
    if chosen.gaps:
        parts.append(_GAPS_NOW if chosen.as_of_ms is None else _GAPS_THEN)
    return " UNION ALL ".join(f"({part})" for part in parts)


def _now(chosen: Filter) -> str:
    return f"({_NOW if chosen.as_of_ms is None else _KNOWN_NOW})"


WINDOWS = Table(
    ("windows", "readings"),
    {"start": "M", "n": ">i4", "n_expected": ">i4"}
    | dict.fromkeys(("coverage", "mean", "min", "max", "std", "p50", "p95", "first", "last"), ">f8")
    | {"complete": "?", "rev": ">i4", "published": "M"},
    _branches,
    lambda chosen: DAY_MS // 1000 // chosen.width_s,
    _now,  # a day that is full of what is true now has no row of before
    _OTHERS,
)
"""Columns as table `windows` has them; NaN and an `n_expected` of -1 are null. A gap has rev 0."""
