"""cityfeed's own payloads.

    {"t": 1735689600000, "pm25": 7.1, "no2": 12}              one object, many metrics
    [{"t": ..., "pm25": 7.1}, {"t": ..., "pm25": 7.3}]        an array of them
    {"t": ..., "metric": "pm25", "value": 7.1, "unit": "ug/m3", "period_s": 60, "rev": 2}

`t` is whole epoch milliseconds or RFC 3339 with offset. Other keys with a meaning: period_s, rev, lon and lat,
origin ("live" or "import"), unit (where there is one metric) and units ({"pm25": "ug/m3"}). Every other key is a
metric. null is "no value now": it is left out and is no mistake. One bad metric is refused alone.
An array of SenML records (RFC 8428) is recognised by its names and resolved as such.
"""

from typing import Any, NamedTuple

from ingest_gateway.decoders import senml
from ingest_gateway.decoders.json_text import parse
from ingest_gateway.decoders.rows import (
    Context,
    Decoded,
    Row,
    bad_name,
    is_metric_name,
    number,
    origin,
    period,
    place,
    revision,
    shown,
)  # fmt: skip
from ingest_gateway.decoders.times import start_ms
from schemas.readings import Reject

RESERVED = frozenset({"t", "period_s", "rev", "lon", "lat", "unit", "units", "origin"})
_OF_ONE_METRIC = RESERVED | {"metric", "value"}


class _Common(NamedTuple):
    start: int
    period_s: int
    rev: int
    origin: int
    lon: float
    lat: float


def decode(payload: bytes, context: Context, received_ms: int) -> Decoded:
    """Rows and rejects of a payload; see the module's docstring."""
    parsed = parse(payload)
    kind = type(parsed)
    if kind is dict:
        return decode_objects([parsed], context, received_ms)
    if kind is list:
        if senml.is_pack(parsed):
            return senml.resolve(parsed, context, received_ms)
        return decode_objects(parsed, context, received_ms)
    if kind is Reject:
        return [], [parsed]
    return [], [Reject("payload_type", f"the payload is {shown(parsed)}; it is an object or an array of objects")]


def decode_objects(objects: list[Any], context: Context, received_ms: int) -> Decoded:
    """The same from the parsed objects."""
    rows: list[Row] = []
    rejects: list[Reject] = []
    if not objects:
        return rows, [Reject("payload_empty", "the array is empty")]
    for index, item in enumerate(objects):
        if type(item) is not dict:
            rejects.append(Reject("object_type", f"entry {index} is {shown(item)}, not an object", {"index": index}))
        else:
            refused = _object(item, context, received_ms, rows)
            if refused:
                rejects += [Reject(r.reason, r.detail, {"index": index} | r.row) for r in refused]
    return rows, rejects


def _object(item: dict[str, Any], context: Context, received_ms: int, rows: list[Row]) -> list[Reject]:
    """Append the object's rows; give what of it is refused."""
    common = _common(item, context, received_ms)
    if isinstance(common, Reject):
        return [common]
    if "metric" in item or "value" in item:
        return _one_metric(item, common, rows)
    start, period_s, rev, from_, lon, lat = common
    units = _units(item)
    if isinstance(units, Reject):
        return [units]
    source = context.source
    refused: list[Reject] = []
    found = False
    for name, value in item.items():
        if name in RESERVED:
            continue
        if source is not None and source.metrics:
            target = source.metric_of(name)
            if target is None:
                continue
            metric, unit = target.metric, target.unit or units.get(name, "")
        else:
            metric, unit = name, units.get(name, "") if units else ""
        found = True
        if value is None:
            continue
        if not is_metric_name(metric):
            refused.append(bad_name(metric))
            continue
        measured = number(metric, value)
        if isinstance(measured, Reject):
            refused.append(measured)
        else:
            rows.append(Row(metric, unit, start, period_s, measured, rev, from_, lon, lat))
    if not found:
        refused.append(Reject("no_metric", 'the object has no metric, such as "pm25": 7.1'))
    return refused


def _one_metric(item: dict[str, Any], common: _Common, rows: list[Row]) -> list[Reject]:
    metric, unit = item.get("metric"), item.get("unit", "")
    if not isinstance(metric, str):
        return [
            Reject("metric_missing", f'metric is {shown(metric)}; a "value" needs its name, such as "metric": "pm25"')
        ]
    if not is_metric_name(metric):
        return [bad_name(metric)]
    if not isinstance(unit, str) or len(unit) > 32:
        return [Reject("unit", f"unit is {shown(unit)}; it is a UCUM code such as ug/m3", {"metric": metric})]
    refused = [
        Reject("field_unknown", f'{name[:64]!r} beside "metric" and "value" has no meaning; one object, one metric')
        for name in item
        if name not in _OF_ONE_METRIC
    ]
    if "value" not in item:
        return [*refused, Reject("value_missing", f'{metric} has no "value"', {"metric": metric})]
    if item["value"] is None:
        return refused
    measured = number(metric, item["value"])
    if isinstance(measured, Reject):
        return [*refused, measured]
    start, period_s, rev, from_, lon, lat = common
    rows.append(Row(metric, unit, start, period_s, measured, rev, from_, lon, lat))
    return refused


def _common(item: dict[str, Any], context: Context, received_ms: int) -> _Common | Reject:
    """What holds for all metrics of an object."""
    get = item.get
    period_s = period(get("period_s"), context)
    if isinstance(period_s, Reject):
        return period_s
    start = start_ms(get("t"), context, received_ms, period_s)
    if isinstance(start, Reject):
        return start
    rev = revision(get("rev"))
    if isinstance(rev, Reject):
        return rev
    from_ = origin(get("origin"))
    if isinstance(from_, Reject):
        return from_
    where = place(get("lon"), get("lat"))
    if isinstance(where, Reject):
        return where
    return _Common(start, period_s, rev, from_, *where)


def _units(item: dict[str, Any]) -> dict[str, str] | Reject:
    """Units by metric."""
    if "units" not in item and "unit" not in item:
        return {}
    units: Any = item.get("units", {})
    if not isinstance(units, dict) or not all(isinstance(u, str) and len(u) <= 32 for u in units.values()):
        return Reject("unit", 'units is an object of texts, such as {"pm25": "ug/m3"}')
    if "unit" in item:
        metrics = [name for name in item if name not in RESERVED]
        unit = item["unit"]
        if not isinstance(unit, str) or len(unit) > 32 or len(metrics) > 1:
            return Reject(
                "unit", f'unit is {shown(unit)} for {len(metrics)} metrics; several are told apart by "units"'
            )
        return dict.fromkeys(metrics, unit) | units
    return dict(units)
