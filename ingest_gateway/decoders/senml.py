"""SenML in JSON (RFC 8428).

Base fields bn bt bu bv bver hold from their record on. A record's name is bn + n; the metric is its last segment
(after `/` or `:`), or what sources.toml says of the whole name, of n or of the segment. Times are seconds since
1970; those under 2^28 are relative to now (section 4.5.3), which is another moment each time that the message is
delivered: they, and records without a time, are taken only from sources with `time = "received"`. Values are
numbers (v); texts, booleans, data and sums (vs vb vd s) are refused.
"""

import re
from dataclasses import dataclass
from typing import Any

from ingest_gateway.decoders.json_text import parse
from ingest_gateway.decoders.rows import (
    Context,
    Decoded,
    Row,
    bad_name,
    finite_sum,
    is_metric_name,
    number,
    period,
    shown,
)  # fmt: skip
from ingest_gateway.decoders.times import LATEST_MS
from schemas.city import SourceMetric
from schemas.readings import Reject

VERSION = 10  # RFC 8428's
RELATIVE_BELOW_S = 2**28
_NOT_NUMBERS = {"vs": "a text (vs)", "vb": "a boolean (vb)", "vd": "data (vd)", "s": "a sum (s)"}
_BASE = frozenset({"bn", "bt", "bu", "bv", "bs", "bver"})


def is_pack(parsed: Any) -> bool:
    """True for an array that can only be SenML: a record that has a base name, or a name as text."""
    return isinstance(parsed, list) and any(
        isinstance(r, dict) and ("bn" in r or isinstance(r.get("n"), str)) for r in parsed[:8]
    )


def decode(payload: bytes, context: Context, received_ms: int) -> Decoded:
    """Rows and rejects of a SenML pack."""
    parsed = parse(payload)
    if isinstance(parsed, Reject):
        return [], [parsed]
    if not isinstance(parsed, list) or not parsed:
        return [], [Reject("payload_type", f"the payload is {shown(parsed)}; a SenML pack is an array of records")]
    return resolve(parsed, context, received_ms)


@dataclass
class _Base:
    name: str = ""
    unit: str = ""
    time_s: float | None = None
    value: float | None = None


def resolve(records: list[Any], context: Context, received_ms: int) -> Decoded:
    """The same from the parsed records."""
    rows: list[Row] = []
    rejects: list[Reject] = []
    base = _Base()
    found = False
    for index, record in enumerate(records):
        if not isinstance(record, dict):
            rejects.append(Reject("object_type", f"record {index} is {shown(record)}, not an object", {"index": index}))
            continue
        if (fatal := _take_base(record, base)) is not None:
            return [], [fatal]  # what follows can't be resolved, and by 4.4 a pack is taken or left
        if record.keys() <= _BASE or (target := _metric(base.name, record.get("n", ""), context)) is None:
            continue
        found = True
        row = _row(record, base, target, context, received_ms)
        if isinstance(row, Reject):
            rejects.append(Reject(row.reason, row.detail, {"index": index} | row.row))
        elif row is not None:
            rows.append(row)
    if not found and not rejects:
        rejects.append(Reject("no_metric", "no record of the pack has a metric of this source; see sources.toml"))
    return rows, rejects


def _take_base(record: dict[str, Any], base: _Base) -> Reject | None:
    for key in record:
        if key.endswith("_"):
            return Reject("senml_label", f"the label {key[:32]!r} must be understood (its name ends in _), and is not")
    version = record.get("bver", VERSION)
    if type(version) is not int or not 1 <= version <= VERSION:
        return Reject("senml_version", f"bver is {shown(version)}; this program reads SenML up to version {VERSION}")
    for key, kinds in (
        ("bn", (str,)),
        ("bu", (str,)),
        ("bt", (int, float)),
        ("bv", (int, float)),
        ("n", (str,)),
        ("u", (str,)),
    ):
        if key in record and type(record[key]) not in kinds:
            return Reject("senml_type", f"{key} is {shown(record[key])}, which has the wrong type")
    base.name = record.get("bn", base.name)
    base.unit = record.get("bu", base.unit)
    base.time_s = record.get("bt", base.time_s)
    base.value = record.get("bv", base.value)
    return None


def _row(
    record: dict[str, Any], base: _Base, target: SourceMetric, context: Context, received_ms: int
) -> Row | Reject | None:
    """The reading of a record; None for one of no value (null)."""
    metric = target.metric
    if not is_metric_name(metric):
        return bad_name(metric)
    if "v" not in record:
        other = next((what for key, what in _NOT_NUMBERS.items() if key in record), None)
        if other:
            return Reject("value_type", f"{metric} is {other}; a reading is a number (v)", {"metric": metric})
        return Reject("value_missing", f"{metric} has no value (v)", {"metric": metric})
    if record["v"] is None:
        return None
    value = number(metric, record["v"])
    if type(value) is float and base.value is not None:
        value = finite_sum(metric, value, base.value)
    if isinstance(value, Reject):
        return value
    start = _start_ms(record.get("t"), base.time_s, context, received_ms)
    if isinstance(start, Reject):
        return start
    period_s = period(None, context)
    if isinstance(period_s, Reject):
        return period_s
    if context.source is not None and context.source.stamp == "end":
        if period_s < 0:
            return Reject(
                "period_missing", "the source stamps the end of the period, but sources.toml gives no period_s"
            )
        start -= period_s * 1000
    return Row(metric, target.unit or record.get("u", base.unit), start, period_s, value)


def _metric(base_name: str, own: str, context: Context) -> SourceMetric | None:
    """What a record is of; None for what the source does not list."""
    name = base_name + own
    segment = re.split("[:/]", name)[-1]
    source = context.source
    if source is None or not source.metrics:
        return SourceMetric(segment)
    return source.metric_of(name) or source.metric_of(own) or source.metric_of(segment)


def _start_ms(given: Any, base_s: float | None, context: Context, received_ms: int) -> int | Reject:
    if given is None and base_s is None:
        if context.received_is_time:
            return received_ms
        return Reject(
            "t_missing", 'neither t nor bt: each reading needs its time, in seconds, such as "bt": 1735689600'
        )
    if given is not None and type(given) not in (int, float):
        return Reject("t_type", f"t is {shown(given)}; SenML's time is a number of seconds")
    seconds = (given or 0) + (base_s or 0)
    if seconds >= RELATIVE_BELOW_S:
        if seconds * 1000 <= LATEST_MS:
            return round(seconds * 1000)
        return Reject("t_range", f"the time {seconds!r} is not in seconds since 1970; SenML does not use milliseconds")
    if not context.received_is_time:
        return Reject(
            "t_relative", f"the time {seconds!r} is relative to now; send seconds since 1970, or let a source in "
            'sources.toml take it with time = "received"',
        )  # fmt: skip
    if seconds < -RELATIVE_BELOW_S:
        return Reject("t_range", f"the time {seconds!r} is too long ago")
    return received_ms + round(seconds * 1000)
