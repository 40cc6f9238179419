"""Aggregates that are made when they are asked for: over local days, weeks and months, over sensors and areas.

The statistics are those of stored windows; the database makes them from the stored readings, a few buckets a
statement. Order: start, then area, sensor and metric; a cursor says after which of them it goes on.
"""

import bisect
import contextlib
import itertools
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from api import columns, paging, params, places
from api.archive import past
from api.archive.past import Past
from api.cursor import bad_cursor
from api.geohash import geohash, middle
from api.history import Query
from api.paging import Positions, Start
from api.queries import aggregates, pages, series
from api.queries.aggregates import Bucket, Member
from api.rows import AggregateRow
from api.state import AppState
from api.times import DAY_MS, EPOCH, FIRST_MS, LAST_MS, as_datetime, rfc3339
from schemas.errors import RequestError
from schemas.quantities import QUANTITIES
from schemas.registry import FOREVER_MS, Registry

KIND = "aggregates"
COMPLETE_COVERAGE = 0.75  # as stored windows: 75 %, of EPA's practice (40 CFR part 50, appendices)
AREA_CHARACTERS = 5
MEMBERS_PER_STATEMENT = 2_000
BUCKETS_PER_PAGE = 5_000

Key = tuple[int, str, str, str]
"""Start of the bucket in epoch ms, area, sensor, metric; "" where there is none."""


class Cursor(msgspec.Struct, frozen=True):
    """Where a page of aggregates ended."""

    query: bytes
    from_ms: int
    to_ms: int
    after: Key
    readings: dict[int, int]
    made_ms: int


@dataclass(frozen=True)
class Page:
    """Rows of the kind asked for, the range, the cursor of the next page, that of the state shown."""

    rows: list[msgspec.Struct]
    start: Start
    cursor: str | None
    end: str


async def page(here: AppState, query: Query, kind: type[msgspec.Struct], limit: int, now_ms: int) -> Page:
    """The next page of aggregates."""
    start, after = _begin(here, query, now_ms)
    async with here.pool.connection() as connection:
        positions = start.positions or await series.positions(connection)
        made: list[tuple[Key, AggregateRow]] = []
        # A bucket of the page before may begin before the range of what is left.
        async with past.of(connection, here.archive, query.dataset.id, start.from_ms, now_ms) as archived:
            buckets = await _buckets(connection, query, start, after, archived)
            n_buckets = 0
            parts = _rows(here, connection, query, buckets, positions, now_ms, archived)
            async with contextlib.aclosing(parts):
                async for some, rows in parts:
                    made += [(key, row) for key, row in rows if after is None or key > after]
                    n_buckets += len(some)
                    if len(made) > limit or n_buckets >= BUCKETS_PER_PAGE:
                        break
                else:
                    some = []
    last: Key | None = None
    if len(made) > limit:
        made = made[:limit]
        last = made[-1][0]
    elif some:
        last = (some[-1].lo_ms, "\U0010ffff", "", "")
    cursor = last and here.cursors.encode(
        KIND,
        msgspec.structs.asdict(
            Cursor(query.digest, start.from_ms, start.to_ms, last, positions.readings, start.made_ms)
        ),
    )
    end = paging.end_cursor(here.cursors, positions, start.made_ms)
    return Page(_of_kind(kind, [row for _, row in made], query, here), start, cursor, end)


def _begin(here: AppState, query: Query, now_ms: int) -> tuple[Start, Key | None]:
    asked = query.asked
    if asked.cursor is None:
        return paging.begin(here.cursors, asked, query.digest, query.noun.default_range_s(asked), now_ms), None
    try:
        found = msgspec.convert(here.cursors.decode(KIND, asked.cursor), Cursor, builtin_types=(bytes,))
    except RequestError:
        return paging.begin(here.cursors, asked, query.digest, query.noun.default_range_s(asked), now_ms), None
    except msgspec.ValidationError as e:
        raise bad_cursor(f"its content is not a page's ({e})") from None
    if found.query != query.digest:
        raise bad_cursor("it belongs to a query with another address or filter")
    for name, given, fixed in (("from", asked.from_ms, found.from_ms), ("to", asked.to_ms, found.to_ms)):
        if given is not None and given != fixed:
            raise bad_cursor(f"it belongs to a query with another `{name}`")
    return Start(found.from_ms, found.to_ms, None, Positions(found.readings, {}), found.made_ms), found.after


async def _buckets(
    connection: series.Connection, query: Query, start: Start, after: Key | None, archived: Past | None
) -> Iterator[Bucket]:
    """The buckets that are left and in which something may be stored."""
    bounds = (
        as_datetime(start.from_ms),
        as_datetime(min(LAST_MS - 1, start.to_ms + params.WIDTHS[query.asked.width].seconds * 1000)),
    )
    days = await series.chunk_days(connection, ("readings",), *bounds)
    if archived is not None:
        days = sorted({*days, *archived.days})
    if not days:
        return iter(())
    reach_ms = 2 * params.WIDTHS[query.asked.width].seconds * 1000
    from_ms = max(start.from_ms, days[0] * DAY_MS - reach_ms)
    to_ms = min(start.to_ms, (days[-1] + 1) * DAY_MS)
    return (
        bucket
        for bucket in buckets_of(query, replace(start, from_ms=from_ms, to_ms=to_ms), after)
        if _any_between(days, bucket.lo_ms // DAY_MS, -(-bucket.hi_ms // DAY_MS))
    )


def _any_between(days: list[int], first: int, end: int) -> bool:
    return bisect.bisect_left(days, first) < bisect.bisect_left(days, end)


def buckets_of(query: Query, start: Start, after: Key | None = None) -> Iterator[Bucket]:
    """The buckets of the query's width and time zone that start in the range, from the one that `after` is in."""
    begin_ms = start.from_ms if after is None else max(start.from_ms, after[0])
    if query.asked.width in ("1d", "1w", "1mo"):
        yield from _calendar(query.asked.width, query.asked.tz or "UTC", begin_ms, start.to_ms)
        return
    width_ms = params.WIDTHS[query.asked.width].seconds * 1000
    for lo_ms in range(-(-begin_ms // width_ms) * width_ms, start.to_ms, width_ms):
        yield Bucket(lo_ms, lo_ms + width_ms)


def _calendar(width: str, tz: str, begin_ms: int, to_ms: int) -> Iterator[Bucket]:
    """Days, weeks from Monday, months of a time zone; where midnight is skipped, a day begins at the first moment."""
    zone = ZoneInfo(tz)
    day = (EPOCH + timedelta(milliseconds=begin_ms)).date()
    day = _floor(width, max(day, date.min + timedelta(days=40)) - timedelta(days=2))
    while day < date.max - timedelta(days=64):
        following = _next(width, day)
        lo_ms, hi_ms = _midnight_ms(day, zone), _midnight_ms(following, zone)
        if lo_ms >= to_ms:
            return
        if lo_ms >= begin_ms and hi_ms > lo_ms:
            yield Bucket(lo_ms, hi_ms)
        day = following


def _floor(width: str, day: date) -> date:
    if width == "1w":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if width == "1mo" else day


def _next(width: str, day: date) -> date:
    if width == "1mo":
        return (day + timedelta(days=32)).replace(day=1)
    return day + timedelta(days=7 if width == "1w" else 1)


def _midnight_ms(day: date, zone: ZoneInfo) -> int:
    local = datetime(day.year, day.month, day.day, tzinfo=zone)
    moment = local.astimezone(UTC)
    # A midnight that does not exist (clocks went forward over it) reads as the hour before: the day begins at the gap.
    if moment.astimezone(zone).replace(tzinfo=None) != local.replace(tzinfo=None):
        moment = _transition(moment - timedelta(hours=3), moment + timedelta(hours=3), zone)
    return (moment - EPOCH) // timedelta(milliseconds=1)


def _transition(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    """The moment between two at which the zone's offset changes."""
    before = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)


async def all_rows(
    here: AppState,
    connection: series.Connection,
    query: Query,
    kind: type[msgspec.Struct],
    start: Start,
    positions: Positions,
    now_ms: int,
    archived: Past | None,
) -> AsyncGenerator[list[msgspec.Struct]]:
    """All rows of the range, some buckets at a time, on a connection of their own."""
    buckets = await _buckets(connection, query, start, None, archived)
    async with contextlib.aclosing(_rows(here, connection, query, buckets, positions, now_ms, archived)) as found:
        async for _, rows in found:
            yield _of_kind(kind, [row for _, row in rows], query, here)


async def _rows(
    here: AppState,
    connection: series.Connection,
    query: Query,
    buckets: Iterator[Bucket],
    positions: Positions,
    now_ms: int,
    archived: Past | None,
) -> AsyncGenerator[tuple[list[Bucket], list[tuple[Key, AggregateRow]]]]:
    """(buckets, their rows with keys) a statement at a time."""
    asked, dataset = query.asked, query.dataset.id
    registry = await series.stored_registry(connection, query.dataset)
    # All metrics of the sensors: one may weigh another.
    found = await series.chosen(connection, dataset, asked.sensor, (), with_first=False)
    groups, members = _members(here, registry, query, found)
    if not members:
        return
    chosen = pages.Filter(dataset, flags=asked.flag, origins=asked.origin, bbox=asked.bbox, as_of_ms=asked.as_of_ms)
    each = max(1, MEMBERS_PER_STATEMENT // len(members))
    used = {m.series for m in members} | {m.weigher for m in members}
    names = {key: (sensor, metric) for key, sensor, metric, _ in found if key in used}
    while some := list(itertools.islice(buckets, each)):
        days = range(some[0].lo_ms // DAY_MS, -(-some[-1].hi_ms // DAY_MS))
        there = archived is not None and archived.among(days)
        async with archived.over(connection, days, names) if there and archived else contextlib.nullcontext():
            rows = await aggregates.read(connection, chosen, some, members, positions)
        made = [_row(here, query, some[r.bucket], groups[r.group], r, now_ms) for r in rows]
        yield some, sorted(made, key=lambda pair: pair[0])


def _members(
    here: AppState, registry: Registry, query: Query, found: Sequence[tuple[int, str, str, int | None]]
) -> tuple[list[tuple[str, str, str]], list[Member]]:
    """The groups (area, sensor, metric), "" where they are not apart, and which series belong to which, when."""
    asked, dataset = query.asked, query.dataset.id
    by = asked.group or ("sensor",)
    ids = {(sensor, metric): key for key, sensor, metric, _ in found}
    groups: dict[tuple[str, str, str], int] = {}
    members: list[Member] = []
    for key, sensor, metric, _ in found:
        if asked.metric and metric not in asked.metric:
            continue
        rule = registry.rule(dataset, sensor, metric)
        quantity = QUANTITIES.get(metric)
        weigher = ids.get((sensor, quantity.weight)) if quantity and quantity.weight else None
        for since, until, area, mobile in _stays(registry, query, sensor):
            group = (area if "area" in by else "", sensor if "sensor" in by else "", metric)
            number = groups.setdefault(group, len(groups))
            members.append(
                Member(key, number, since, until, mobile, rule.period_s, max(rule.period_s, rule.cadence_s), weigher)
            )
    return list(groups), members


def _stays(registry: Registry, query: Query, sensor: str) -> Iterator[tuple[int, int, str, bool | None]]:
    """(from, to, area, whether only readings with a place of their own count) of a sensor, as box and groups ask."""
    box, by_area = query.asked.bbox, "area" in query.asked.group
    if box is None and not by_area:
        yield FIRST_MS, LAST_MS, "", None
        return
    spans: list[tuple[int, int, tuple[float, float] | None]] = []
    at = FIRST_MS
    for since, until, registration in registry.validities(query.dataset.id, sensor):
        since = FIRST_MS if since <= 0 else since
        until = LAST_MS if until >= FOREVER_MS else until
        if since > at:
            spans.append((at, since, None))
        spans.append((since, until, places.public_place(registration)))
        at = until
    if at < LAST_MS:
        spans.append((at, LAST_MS, None))
    for since, until, place in spans:
        if box is None:
            yield since, until, geohash(*place, AREA_CHARACTERS) if place else "", None
        elif place is not None and box.contains(*place):
            yield since, until, geohash(*place, AREA_CHARACTERS), False
    if box is not None:
        yield FIRST_MS, LAST_MS, "", True


def _row(
    here: AppState, query: Query, bucket: Bucket, group: tuple[str, str, str], row: aggregates.Aggregated, now_ms: int
) -> tuple[Key, AggregateRow]:
    area, sensor, metric = group
    dataset = query.dataset.id
    covered = row.coverage
    made = AggregateRow(
        dataset, sensor or None, area or None, metric, here.unit(dataset, sensor, metric), query.asked.width,
        query.asked.tz or "UTC", rfc3339(bucket.lo_ms), rfc3339(bucket.hi_ms), row.sensors, row.n, row.n_expected,
        covered, row.mean, row.min, row.max, row.std, row.p50, row.p95, row.first if sensor else None,
        row.last if sensor else None, bucket.hi_ms <= now_ms and covered is not None and covered >= COMPLETE_COVERAGE,
    )  # fmt: skip
    return (bucket.lo_ms, area, sensor, metric), made


def _of_kind(
    kind: type[msgspec.Struct], rows: list[AggregateRow], query: Query, here: AppState
) -> list[msgspec.Struct]:
    """The rows with the fields that are asked for; GeoJSON has the sensor's place, or the middle of the area."""
    if kind is AggregateRow:
        return list(rows)
    made: list[msgspec.Struct] = []
    for row in rows:
        values = msgspec.structs.asdict(row) | dict.fromkeys(columns.PLACE)
        if "lon" in kind.__struct_encode_fields__:
            values |= _place(row, query, here)
        made.append(kind(**{name: values[name] for name in kind.__struct_encode_fields__}))
    return made


def _place(row: AggregateRow, query: Query, here: AppState) -> dict[str, float]:
    if row.area is not None and row.sensor is None:
        return dict(zip(columns.PLACE, middle(row.area), strict=True))
    at = here.registry.at(query.dataset.id, row.sensor, _ms(row.start)) if row.sensor else None
    place = places.public_place(at)
    return dict(zip(columns.PLACE, place, strict=True)) if place else {}


def _ms(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(milliseconds=1)
