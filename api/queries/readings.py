"""A page's rows of readings: those stored, and for those revised since the first page, as they were then."""

from api.queries.pages import Filter, Table

GAP_NONE, GAP_LOST = -1, -2
"""`origin` of what is missing: nobody sent it, or it was lost here."""

# Rows are bounded by the positions of the first page. A reading that a later record revised has its older rev in
# readings_history: the one that stood at that position is served.
STORED = "{row}.position <= (%(stored)s::bigint[])[{row}.part + 1]"

IN_DAY = (
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

NOW = f"""
    SELECT {_COLUMNS} FROM readings AS {{row}}
    WHERE {IN_DAY} AND {STORED} AND {_CHOSEN}
    ORDER BY {{row}}.start LIMIT %(limit)s""".format(row="r")

THEN = f"""
    SELECT {_COLUMNS} FROM readings_history AS {{row}}
    WHERE {IN_DAY} AND {STORED} AND {_CHOSEN}
      AND EXISTS (SELECT FROM readings r WHERE r.series = {{row}}.series AND r.start = {{row}}.start
                  AND r.start >= %(lowest)s AND r.start < %(highest)s
                  AND NOT coalesce({STORED.format(row="r")}, false))
      AND NOT EXISTS (SELECT FROM readings_history g WHERE g.series = {{row}}.series AND g.start = {{row}}.start
                      AND g.rev > {{row}}.rev AND {STORED.format(row="g")})""".format(row="h")

# `as_of`: a revision is known from its receipt, or from the moment at which the one before stopped being true, until
# it stops itself.
_KNOWN_NOW = f"""
    SELECT {_COLUMNS} FROM readings AS {{row}}
    WHERE {IN_DAY} AND {STORED} AND {_CHOSEN} AND {{row}}.received <= %(as_of)s
      AND NOT EXISTS (SELECT FROM readings_history g WHERE g.series = {{row}}.series AND g.start = {{row}}.start
                      AND g.known_to > %(as_of)s)
    ORDER BY {{row}}.start LIMIT %(limit)s""".format(row="r")

_KNOWN_THEN = f"""
    SELECT {_COLUMNS} FROM readings_history AS {{row}}
    WHERE {IN_DAY} AND {STORED} AND {_CHOSEN} AND {{row}}.received <= %(as_of)s AND {{row}}.known_to > %(as_of)s
      AND NOT EXISTS (SELECT FROM readings_history g WHERE g.series = {{row}}.series AND g.start = {{row}}.start
                      AND g.rev < {{row}}.rev AND g.known_to > %(as_of)s)""".format(row="h")

# Slots of the series' cadence, counted from the start of the UTC day, in which no reading starts.
SLOTS = """generate_series(
        pair.at + ceil(extract(epoch FROM greatest(pair.lo, pair.first_due) - pair.at) / nullif({step}, 0))
                  * {step} * interval '1 second',
        least(pair.hi, pair.last_due) - interval '1 microsecond', {step} * interval '1 second') AS slot(at)"""
IN_SLOT = (
    "{row}.series = pair.id AND {row}.start >= slot.at AND {row}.start < slot.at + {step} * interval '1 second'"
    " AND {row}.start >= %(lowest)s AND {row}.start < %(highest)s"
)

# A reading that lasts longer than the cadence says (its own period) covers the slots that it reaches over.
COVERED = """EXISTS (SELECT FROM (
                  SELECT {row}.start, {row}.period_s FROM {table} AS {row}
                  WHERE {row}.series = pair.id AND {row}.start < slot.at AND {row}.start >= pair.at
                    AND {row}.start >= %(lowest)s AND {row}.start < %(highest)s AND {known}
                  ORDER BY {row}.start DESC LIMIT 1) AS before
              WHERE before.start + before.period_s * interval '1 second' >= slot.at + {step} * interval '1 second')"""

# What is missing was lost here, if a log lost what was received when it was due.
LOST = """EXISTS (SELECT FROM unnest(%(lost_ids)s::integer[], %(lost_since)s::timestamptz[],
                               %(lost_until)s::timestamptz[]) AS lost(id, since, until)
                  WHERE lost.id = pair.id AND slot.at + {step} * interval '1 second' >= lost.since
                    AND slot.at + {due} * interval '1 second' < lost.until)"""

_GAPS = f"""
    SELECT slot.at, pair.step, 'NaN'::float8, 9::smallint, 0, 0,
           (CASE WHEN {LOST.format(step="pair.step", due="pair.step")} THEN {GAP_LOST} ELSE {GAP_NONE} END)::smallint,
           '-infinity'::timestamptz
    FROM {SLOTS.format(step="pair.step")}
    WHERE pair.step > 0
      AND slot.at + pair.step * interval '1 second' <= least(pair.at + interval '1 day', pair.last_due)
      AND (%(flags)s::smallint[] IS NULL OR 9 = ANY(%(flags)s)) AND %(origins)s::smallint[] IS NULL
      AND NOT EXISTS (SELECT FROM readings r WHERE {IN_SLOT.format(row="r", step="pair.step")}
                      AND {{known_now}})
      AND NOT EXISTS (SELECT FROM readings_history h WHERE {IN_SLOT.format(row="h", step="pair.step")}
                      AND {{known_then}})
      AND NOT {COVERED.format(table="readings", row="r", step="pair.step", known="{known_now}")}
      AND NOT {COVERED.format(table="readings_history", row="h", step="pair.step", known="{known_then}")}"""

_GAPS_NOW = _GAPS.format(known_now=STORED.format(row="r"), known_then=STORED.format(row="h"))
_GAPS_THEN = _GAPS.format(
    known_now=f"{STORED.format(row='r')} AND r.received <= %(as_of)s",
    known_then=f"{STORED.format(row='h')} AND h.received <= %(as_of)s",
)


def _branches(chosen: Filter) -> str:
    parts = [NOW, THEN] if chosen.as_of_ms is None else [_KNOWN_NOW, _KNOWN_THEN]
    if chosen.gaps:
        parts.append(_GAPS_NOW if chosen.as_of_ms is None else _GAPS_THEN)
    return " UNION ALL ".join(f"({part})" for part in parts)


READINGS = Table(
    ("readings",),
    {
        "start": "M", "period_s": ">i4", "value": ">f8", "flag": ">i2", "tests": ">i4", "rev": ">i4", "origin": ">i2",
        "received": "M",
    },
    _branches,
)  # fmt: skip
"""Columns as table `readings` has them; a missing value is NaN. A gap has flag 9, rev 0 and origin -1 or -2."""
