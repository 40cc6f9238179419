"""Payloads whose fields are named by their makers: what a field is comes from sources.toml, or a family's table."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ingest_gateway.decoders.rows import (
    Context,
    Decoded,
    Row,
    bad_name,
    is_metric_name,
    number,
    period,
    shown,
)  # fmt: skip
from ingest_gateway.decoders.times import start_ms
from schemas.city import SourceMetric
from schemas.readings import Reject

MAX_DEPTH = 8


class Field(NamedTuple):
    """A field of a payload: its own name, its dotted path, the path with the dots of names written `\\.`."""

    name: str
    path: str
    escaped: str
    value: Any


def leaves(item: dict[str, Any], path: str = "", escaped: str = "", depth: int = 1) -> Iterator[Field]:
    """All fields that are not objects, in document order, down to `MAX_DEPTH`."""
    for name, value in item.items():
        here, quoted = path + name, escaped + name.replace(".", "\\.")
        if not isinstance(value, dict):
            yield Field(name, here, quoted, value)
        elif depth < MAX_DEPTH:
            yield from leaves(value, here + ".", quoted + ".", depth + 1)


def decode_fields(
    fields: Iterator[Field],
    time_given: Any,
    time_field: str,
    context: Context,
    received_ms: int,
    *,
    defaults: Mapping[str, SourceMetric],
    to_number: Callable[[str, Any], float | Reject] = number,
    unit_of: Callable[[str], str] = lambda metric: "",
) -> Decoded:
    """Rows of the fields that are metrics, all of one time.

    The source's `metrics` decide; where it has none, `defaults` by the field's own name. `unit_of(metric)` is the
    unit that the payload itself names, used where the mapping has none. null is "no value now".
    """
    period_s = period(None, context)
    start = (
        period_s if isinstance(period_s, Reject) else start_ms(time_given, context, received_ms, period_s, time_field)
    )
    if isinstance(period_s, Reject) or isinstance(start, Reject):
        return [], [r for r in (period_s, start) if isinstance(r, Reject)][:1]
    source = context.source
    rows: dict[str, Row] = {}
    rejects: list[Reject] = []
    seen: list[str] = []
    found = False
    for field in fields:
        seen.append(field.path)
        if source is not None and source.metrics:
            target = source.metric_of(field.path) or source.metric_of(field.escaped)
        else:
            target = defaults.get(field.name)
        if target is None:
            continue
        found = True
        if field.value is None:
            continue
        value = to_number(target.metric, field.value)
        if isinstance(value, Reject):
            rejects.append(value)
        elif not is_metric_name(target.metric):
            rejects.append(bad_name(target.metric))
        elif target.metric in rows:
            rejects.append(
                Reject(
                    "metric_twice",
                    f"{field.path} is a second {target.metric} in one message; sources.toml says which is meant",
                    {"metric": target.metric},
                )
            )
        else:
            unit = target.unit or unit_of(target.metric)
            rows[target.metric] = Row(target.metric, unit, start, period_s, value)
    if not found:
        names = ", ".join(shown(path) for path in seen[:8]) or "none"
        rejects.append(Reject("no_metric", f"no field is a metric of this source (fields: {names}); see sources.toml"))
    return list(rows.values()), rejects
