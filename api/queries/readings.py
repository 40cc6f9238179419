"""A page's rows of readings: those stored, and for those revised since the first page, as they were then."""

from api.queries.pages import Table

# Rows are bounded by the positions of the first page. A reading that a later record revised has its older rev in
# readings_history: the one that stood at that position is served.
_STORED = "{row}.position <= (%(stored)s::bigint[])[{row}.part + 1]"

_IN_DAY = (
    "{row}.series = pair.id AND {row}.start >= pair.lo AND {row}.start < pair.hi"
    " AND {row}.start >= %(lowest)s AND {row}.start < %(highest)s"
)

_CHOSEN = """
    (%(flags)s::smallint[] IS NULL OR {row}.flag = ANY(%(flags)s))
    AND (%(origins)s::smallint[] IS NULL OR {row}.origin = ANY(%(origins)s))
    AND (pair.mobile IS NULL OR CASE WHEN pair.mobile
         THEN EXISTS (SELECT FROM reading_places p WHERE p.series = {row}.series AND p.start = {row}.start
                      AND p.lat BETWEEN %(south)s AND %(north)s
                      AND CASE WHEN %(west)s <= %(east)s THEN p.lon BETWEEN %(west)s AND %(east)s
                               ELSE p.lon >= %(west)s OR p.lon <= %(east)s END)
         ELSE NOT EXISTS (SELECT FROM reading_places p WHERE p.series = {row}.series AND p.start = {row}.start) END)"""

_COLUMNS = "{row}.start, {row}.period_s, {row}.value, {row}.flag, {row}.tests, {row}.rev, {row}.origin, {row}.received"

_NOW = f"""
    SELECT {_COLUMNS} FROM readings AS {{row}}
    WHERE {_IN_DAY} AND {_STORED} AND {_CHOSEN}
    ORDER BY {{row}}.start LIMIT %(limit)s""".format(row="r")

_THEN = f"""
    SELECT {_COLUMNS} FROM readings_history AS {{row}}
    WHERE {_IN_DAY} AND {_STORED} AND {_CHOSEN}
      AND EXISTS (SELECT FROM readings r WHERE r.series = {{row}}.series AND r.start = {{row}}.start
                  AND r.start >= %(lowest)s AND r.start < %(highest)s
                  AND NOT coalesce({_STORED.format(row="r")}, false))
      AND NOT EXISTS (SELECT FROM readings_history g WHERE g.series = {{row}}.series AND g.start = {{row}}.start
                      AND g.rev > {{row}}.rev AND {_STORED.format(row="g")})""".format(row="h")

READINGS = Table(
    ("readings",),
    {
        "start": "M", "period_s": ">i4", "value": ">f8", "flag": ">i2", "tests": ">i4", "rev": ">i4", "origin": ">i2",
        "received": "M",
    },
    f"({_NOW}) UNION ALL ({_THEN})",
)  # fmt: skip
"""Columns as table `readings` has them; a missing value is NaN."""

IN_DAY = _IN_DAY
STORED = _STORED
