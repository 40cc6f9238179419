"""Parameters of the quality rules, as a dataset's TOML file gives them for a metric; docs/quality.md explains each.

Thresholds are in the CANONICAL unit of the metric, times in seconds. `suspect` gives flag 3, `fail` flag 4; either
may be left out. What can't be meant is refused when the file is read (`mistakes`).
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar

import msgspec

MAX_SENTINELS = 4
MAX_WINDOW_READINGS = 1_440  # a day of minutes; what the stream remembers of a series is bounded by it
MAX_RULE_S = 7 * 86_400
HUGE = 1e100  # from here on up (and down) it is no measurement; sums of squares of what is below are finite

Span = tuple[float, float]
RuleS = Annotated[int, msgspec.Meta(gt=0, le=MAX_RULE_S)]
Months = Annotated[tuple[Annotated[int, msgspec.Meta(ge=1, le=12)], ...], msgspec.Meta(min_length=1)]


class Season(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Climatology: what is usual in these months (UTC, 1 to 12), ends included."""

    months: Months
    suspect: Span | None = None
    fail: Span | None = None


class Spike(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Most that a value may stick out between its two neighbours.

    `average`: from their mean (which also flags the neighbours of a very high spike); `differential`: the smaller of
    the two steps, where one goes up and the other down.
    """

    suspect: float | None = None
    fail: float | None = None
    method: Literal["average", "differential"] = "average"


class RateOfChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Most that a value may change, per second."""

    suspect: float | None = None
    fail: float | None = None


class FlatLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Values whose range stays below `tolerance` for so many seconds are stuck."""

    tolerance: float
    suspect_s: RuleS | None = None
    fail_s: RuleS | None = None


class Attenuated(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Least standard deviation (of the population) in the last `period_s`, of at least `min_obs` values."""

    period_s: RuleS
    min_obs: Annotated[int, msgspec.Meta(ge=2)]
    suspect: float | None = None
    fail: float | None = None


class TimeGap(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Most seconds from one reading's start to the next one's; the reading after the gap is flagged."""

    suspect_s: RuleS | None = None
    fail_s: RuleS | None = None


class Clock(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Suspect where a reading begins more than `ahead_s` after its receipt, or ended more than `behind_s` before it."""

    ahead_s: Annotated[int, msgspec.Meta(ge=0, le=300)] | None = None
    behind_s: Annotated[int, msgspec.Meta(gt=0, le=366 * 86_400)] | None = None


class Neighbours(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """On closed hours: suspect where the mean differs by more than `suspect` from the median of the neighbours' means.

    Neighbours are the sensors of the dataset within `radius_m`; with fewer than `min_sensors` of them there is no
    verdict. `share`: the difference must also be more than this share of the median. `spread`: and more than so many
    times the neighbours' median distance from it, so that where they differ among themselves nobody is suspect.
    """

    radius_m: Annotated[float, msgspec.Meta(gt=0, le=100_000)]
    suspect: float
    min_sensors: Annotated[int, msgspec.Meta(ge=2, le=1000)] = 3
    share: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    spread: Annotated[float, msgspec.Meta(ge=0)] = 0.0


Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
Hour = Annotated[int, msgspec.Meta(ge=0, le=24)]


class Detector(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The daily health of a road detector, judged by its occupancy from `from_hour` to `to_hour` of the city's day;
    schemas/detector.py has the tests, their order and where the figures come from.
    """

    from_hour: Hour = 5
    to_hour: Hour = 22
    least_samples: Share = 0.60
    zero_occupancy: Share = 0.59
    zero_occupancy_rural: Share = 0.90
    high: Share = 0.70
    high_occupancy: Share = 0.20
    no_flow: Share = 0.02
    no_occupancy: Share = 0.50
    constant_s: RuleS = 14_400
    constant: Annotated[float, msgspec.Meta(gt=0)] = 1e-5


class Quality(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The rules' parameters of a metric. `fail` and `suspect` are the gross range spans [low, high], ends included;
    `sentinels` are values (at most four), in the SOURCE's unit, that mean "no value".
    """

    fail: Span | None = None
    suspect: Span | None = None
    sentinels: Annotated[tuple[float, ...], msgspec.Meta(max_length=MAX_SENTINELS)] = ()
    climatology: tuple[Season, ...] = ()
    spike: Spike | None = None
    rate_of_change: RateOfChange | None = None
    flat_line: FlatLine | None = None
    attenuated: Attenuated | None = None
    time_gap: TimeGap | None = None
    clock: Clock | None = None
    neighbours: Neighbours | None = None
    detector: Detector | None = None


Q = TypeVar("Q", bound=Quality)


def merged(general: Q, special: Quality) -> Q:
    """The general parameters with those of one sensor, which win rule by rule."""
    changes = {
        name: value
        for name, default in zip(Quality.__struct_fields__, Quality.__struct_defaults__, strict=True)
        if (value := getattr(special, name)) != default
    }
    return msgspec.structs.replace(general, **changes)


def set_rules(quality: Quality) -> dict[str, Any]:
    """The parameters that are set, by rule, as JSON has them, those that a rule has by default too."""
    rules = {field: getattr(quality, field) for field in Quality.__struct_fields__}
    return {name: _plain(rule) for name, rule in rules.items() if rule not in (None, ())}


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        fields = {field: getattr(value, field) for field in value.__struct_fields__}
        return {field: _plain(of) for field, of in fields.items() if of is not None}
    return list(map(_plain, value)) if isinstance(value, tuple) else value


def flat_line_steps(seconds: int | None, span_s: int) -> int:
    """How many readings back the flat line test looks; 0: it is not made, also not for a sensor that sends so seldom
    that two equal readings would be flat.
    """
    return seconds // span_s if seconds and span_s and seconds >= 2 * span_s else 0


def attenuated_readings(period_s: int, span_s: int) -> int:
    """At most so many readings are in the attenuated signal's period; 0: it is not made."""
    return period_s // span_s + 1 if span_s else 0


def mistakes(quality: Quality, span_s: int) -> Iterator[tuple[str, str]]:
    """(field, problem) of what can't be meant; `span_s` is the time between readings, 0 where it is not known."""
    if spans := list(_span_mistakes(quality)):
        yield from spans
        return
    for field, number in _numbers(quality):
        if not abs(number) < HUGE:
            yield field, f"{field}: {number:g} is not a number to compare with"
            return
    yield from _season_mistakes(quality.climatology, quality.fail)
    yield from _limit_mistakes(quality)
    yield from _window_mistakes(quality, span_s)


def _numbers(quality: Quality) -> Iterator[tuple[str, float]]:
    def walk(field: str, value: object) -> Iterator[tuple[str, float]]:
        if isinstance(value, float | int):
            yield field, float(value)
        elif isinstance(value, tuple):
            for item in value:
                yield from walk(field, item)
        elif isinstance(value, msgspec.Struct):
            for name in value.__struct_fields__:
                yield from walk(field, getattr(value, name))

    for field in Quality.__struct_fields__:
        yield from walk(field, getattr(quality, field))


def _span_mistakes(quality: Quality) -> Iterator[tuple[str, str]]:
    spans = {"fail": quality.fail, "suspect": quality.suspect}
    good = {field: span for field, span in spans.items() if span is not None and span[0] < span[1]}
    for field, span in spans.items():
        if span is not None and field not in good:
            yield field, f"{field} must be [low, high] with low < high"
    if len(good) == 2 and not _within(good["suspect"], good["fail"]):
        yield "suspect", f"the suspect span must lie within the fail span, {_shown(good['fail'])}"


def _season_mistakes(seasons: tuple[Season, ...], possible: Span | None) -> Iterator[tuple[str, str]]:
    seen: set[int] = set()
    for season in seasons:
        if twice := seen & set(season.months) or {m for m in season.months if season.months.count(m) > 1}:
            yield "climatology", f"climatology: month {min(twice)} is there twice"
            return
        seen |= set(season.months)
        if season.suspect is None and season.fail is None:
            yield "climatology", "climatology: a season has a suspect span, a fail span or both"
            return
        for span in (season.suspect, season.fail):
            if span is not None and not span[0] < span[1]:
                yield "climatology", "climatology: a span must be [low, high] with low < high"
                return
            if span is not None and possible and not (span[0] < possible[1] and possible[0] < span[1]):
                yield "climatology", f"climatology: {_shown(span)} is outside of the fail span, {_shown(possible)}"
                return
        if season.suspect and season.fail and not _within(season.suspect, season.fail):
            yield "climatology", f"climatology: the suspect span must lie within the fail span, {_shown(season.fail)}"
            return


def _limit_mistakes(quality: Quality) -> Iterator[tuple[str, str]]:
    for field in ("spike", "rate_of_change"):
        limits = getattr(quality, field)
        if limits is None:
            continue
        given = [limit for limit in (limits.suspect, limits.fail) if limit is not None]
        if not given:
            yield field, f"{field} has a suspect limit, a fail limit or both"
        elif min(given) <= 0:
            yield field, f"{field}: a limit must be above 0"
        elif len(given) == 2 and not limits.suspect < limits.fail:
            yield field, f"{field}: the suspect limit must be below the fail limit, {limits.fail:g}"
        elif field == "spike" and quality.fail and min(given) >= quality.fail[1] - quality.fail[0]:
            yield field, f"spike: values within the fail span {_shown(quality.fail)} never differ by {min(given):g}"
    if quality.clock is not None and quality.clock.ahead_s is None and quality.clock.behind_s is None:
        yield "clock", "clock has ahead_s, behind_s or both"
    yield from _reach_mistakes(quality)
    if (n := quality.neighbours) is not None and n.suspect <= 0:
        yield "neighbours", "neighbours: suspect must be above 0"
    for field in ("neighbours", "detector"):
        if getattr(quality, field) is not None and quality.fail is None and quality.suspect is None:
            yield field, f"{field}: the metric needs a fail or a suspect span, so that a reading that agrees is good"
    if (d := quality.detector) is not None and d.from_hour >= d.to_hour:
        yield "detector", f"detector: from_hour must be below to_hour, {d.to_hour}"


def _reach_mistakes(quality: Quality) -> Iterator[tuple[str, str]]:
    """Limits that every value within the fail span is below."""
    if quality.fail is None:
        return
    width, shown = quality.fail[1] - quality.fail[0], _shown(quality.fail)
    if (flat := quality.flat_line) is not None and flat.tolerance > width:
        yield "flat_line", f"flat_line: values within the fail span {shown} never differ by {flat.tolerance:g}"
    if (a := quality.attenuated) is not None and max(a.suspect or 0, a.fail or 0) > width / 2:
        yield "attenuated", f"attenuated: no values within the fail span {shown} deviate by more than {width / 2:g}"


def _window_mistakes(quality: Quality, span_s: int) -> Iterator[tuple[str, str]]:
    for field in ("flat_line", "time_gap"):
        rule = getattr(quality, field)
        if rule is None:
            continue
        given = [s for s in (rule.suspect_s, rule.fail_s) if s is not None]
        if not given:
            yield field, f"{field} has suspect_s, fail_s or both"
        elif len(given) == 2 and not rule.suspect_s < rule.fail_s:
            yield field, f"{field}: suspect_s must be below fail_s, {rule.fail_s}"
        elif field == "time_gap" and min(given) <= span_s:
            yield field, f"time_gap: readings come every {span_s} s, so each would be flagged; use more than that"
        elif field == "flat_line":
            yield from _bounded("flat_line", min(given), max(given) // max(span_s, 1) + 1, span_s)
    if (flat := quality.flat_line) is not None and flat.tolerance <= 0:
        yield "flat_line", "flat_line: tolerance must be above 0; a range is never below it otherwise"
    if (d := quality.detector) is not None:
        if not span_s:
            yield "detector", "detector counts readings, so the metric needs a cadence_s or a period_s"
        elif d.constant_s < 2 * span_s:
            yield "detector", f"detector: readings come every {span_s} s; use a constant_s of at least {2 * span_s} s"
    if (a := quality.attenuated) is not None:
        given_limits = [limit for limit in (a.suspect, a.fail) if limit is not None]
        if not given_limits or min(given_limits) <= 0:
            yield "attenuated", "attenuated has a suspect limit, a fail limit or both, above 0"
        elif len(given_limits) == 2 and not a.fail < a.suspect:  # type: ignore[operator]
            yield "attenuated", f"attenuated: the fail limit must be below the suspect limit, {a.suspect:g}"
        yield from _bounded("attenuated", a.period_s, a.period_s // max(span_s, 1) + 1, span_s)
        if span_s and a.min_obs > attenuated_readings(a.period_s, span_s):
            yield "attenuated", f"attenuated: {a.min_obs} readings every {span_s} s do not fit in {a.period_s} s"


def _bounded(field: str, shortest_s: int, readings: int, span_s: int) -> Iterator[tuple[str, str]]:
    if not span_s:
        yield field, f"{field} counts readings, so the metric needs a cadence_s or a period_s"
    elif shortest_s < 2 * span_s:
        yield field, f"{field}: readings come every {span_s} s; use at least {2 * span_s} s"
    elif readings > MAX_WINDOW_READINGS:
        yield field, f"{field} would keep {readings} readings of each series; at most {MAX_WINDOW_READINGS}"


def _within(inner: Span, outer: Span) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def _shown(span: Span) -> str:
    return f"[{span[0]:g}, {span[1]:g}]"
