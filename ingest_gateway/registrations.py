"""Registrations in retained MQTT messages, `<prefix>/v1/<dataset>/<sensor>/meta`.

    {"valid_from": "2026-01-01T00:00:00Z", "site": {"name": "5th Street", "lon": -118.24, "lat": 34.05},
     "device": {"make": "..."}, "series": {"pm25": {"period_s": 60, "quality": {"spike": {"suspect": 80}}}},
     "public_precision_m": 0}

The fields are those of `schemas.registry.Registration` without dataset and sensor, which the topic says; times are
RFC 3339 with offset or epoch milliseconds.
"""

from typing import Any

import msgspec

from ingest_gateway.decoders.json_text import parse
from ingest_gateway.decoders.rows import Context, shown
from ingest_gateway.decoders.times import epoch_ms
from schemas.datasets import Dataset
from schemas.readings import METRIC_PATTERN, Reject
from schemas.registry import Device, Registration, Series, Site, rule_mistakes, unprintable
from schemas.units import conversion

_FIELDS = frozenset(Registration.__struct_fields__) - {"dataset", "sensor"}
_PARTS: dict[str, frozenset[str]] = {
    "site": frozenset(Site.__struct_fields__),
    "device": frozenset(Device.__struct_fields__),
}
_SERIES_FIELDS = frozenset(Series.__struct_fields__)


def decode_registration(
    payload: bytes, context: Context, received_ms: int, dataset: Dataset | None = None
) -> Registration | Reject:
    """The registration that a payload is, or why it is none; `dataset` is its dataset, where there is such a one."""
    parsed = parse(payload)
    if isinstance(parsed, Reject):
        return parsed
    if not isinstance(parsed, dict):
        return _refused(f"the payload is {shown(parsed)}; a registration is an object")
    if problem := _unknown(parsed):
        return _refused(problem)
    given: dict[str, Any] = {**parsed, "dataset": context.dataset, "sensor": context.sensor}
    for field in ("valid_from", "valid_to"):
        if given.get(field) is not None:
            moment = epoch_ms(given[field], "", received_ms, field)
            if isinstance(moment, Reject):
                return _refused(moment.detail)
            given[field] = moment
    try:
        registration = msgspec.convert(given, Registration)
    except msgspec.ValidationError as e:
        return _refused(str(e)[:200])
    problem = _mistake(registration)
    if not problem and dataset is not None:
        problem = next(iter(rule_mistakes(registration, dataset)), "")
    return _refused(problem) if problem else registration


def _refused(detail: str) -> Reject:
    return Reject("registration", detail)


def _unknown(parsed: dict[str, Any]) -> str:
    """Fields that have no meaning, which are mostly typing mistakes."""
    places = [("", parsed, _FIELDS)]
    places += [
        (f"{part}.", parsed[part], known) for part, known in _PARTS.items() if isinstance(parsed.get(part), dict)
    ]
    series = parsed.get("series")
    if isinstance(series, dict):
        places += [(f"series.{m[:32]}.", s, _SERIES_FIELDS) for m, s in series.items() if isinstance(s, dict)]
    for where, given, known in places:
        for name in given:
            if name not in known:
                return f"unknown field {where}{name[:64]}; known are {', '.join(sorted(known))}"
    return ""


def _mistake(registration: Registration) -> str:
    site = registration.site
    if (site.lon is None) != (site.lat is None):
        return "lon and lat go together"
    if site.lon is not None and site.lat is not None and not (-180 <= site.lon <= 180 and -90 <= site.lat <= 90):
        return f"lon {site.lon:g}, lat {site.lat:g} is no place in degrees, -180..180 and -90..90"
    first, last = registration.valid_from, registration.valid_to
    if first is not None and last is not None and last <= first:
        return "valid_to must be after valid_from"
    if registration.public_precision_m < 0:
        return "public_precision_m must not be negative"
    for metric, series in registration.series.items():
        if not METRIC_PATTERN.fullmatch(metric):
            return f"series {metric[:64]!r}: a metric is of the form {METRIC_PATTERN.pattern}"
        if conversion(metric, series.unit or "") is None:
            return f"series {metric}: no conversion from {shown(series.unit)}; schemas/units.py lists them"
    return unprintable(registration)
