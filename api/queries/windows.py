"""A page's rows of windows: those stored (and for those revised since the first page, as they were then), and
readings whose period is the width asked for: such a reading is a window itself and is not stored twice.
"""

from api.queries.pages import Table
from api.queries.readings import IN_DAY, STORED

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

WINDOWS = Table(
    ("windows", "readings"),
    {"start": "M", "n": ">i4", "n_expected": ">i4"}
    | dict.fromkeys(("coverage", "mean", "min", "max", "std", "p50", "p95", "first", "last"), ">f8")
    | {"complete": "?", "rev": ">i4", "published": "M"},
    f"({_NOW}) UNION ALL ({_THEN}) UNION ALL ({_ITSELF})",
)
"""Columns as table `windows` has them; NaN and an `n_expected` of -1 are null."""
