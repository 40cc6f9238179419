"""Sensor.Community (airRohr firmware): a list of typed values, numbers as text.

    {"sensordatavalues": [{"value_type": "SDS_P1", "value": "5.10"}, {"value_type": "SDS_P2", "value": "2.40"}]}

The firmware sends no time, so a source says `time = "received"`; where something in between adds `timestamp`
("2026-01-31 12:00:00", UTC), it says `time_zone = "UTC"`.
"""

from collections.abc import Iterator
from typing import Any

from ingest_gateway.decoders.json_text import parse
from ingest_gateway.decoders.mapped import Field, decode_fields
from ingest_gateway.decoders.rows import Context, Decoded, number_from_text, shown
from schemas.city import SourceMetric
from schemas.readings import Reject

_PARTICLES = {"P0": "pm1", "P1": "pm10", "P2": "pm25"}  # P1 is PM10, P2 is PM2.5: the names are the network's

DEFAULTS: dict[str, SourceMetric] = {
    **{
        prefix + name: SourceMetric(metric, "ug/m3")
        for prefix in ("", "SDS_", "PMS_", "SPS30_")
        for name, metric in _PARTICLES.items()
    },
    **{
        prefix + name: SourceMetric(name, unit)
        for prefix in ("", "BME280_", "BMP280_", "BMP_", "HTU21D_", "SHT3X_")
        for name, unit in (("temperature", "Cel"), ("humidity", "%"), ("pressure", "Pa"))
    },
    "noise_LAeq": SourceMetric("noise", "dB"),
}


def decode(payload: bytes, context: Context, received_ms: int) -> Decoded:
    """Rows and rejects of a message."""
    parsed = parse(payload)
    if isinstance(parsed, Reject):
        return [], [parsed]
    values = parsed.get("sensordatavalues") if isinstance(parsed, dict) else None
    if not isinstance(values, list):
        return [], [Reject("payload_type", f'the payload is {shown(parsed)} without an array "sensordatavalues"')]
    bad = [
        Reject("object_type", f'entry {i} of sensordatavalues is not {{"value_type": ..., "value": ...}}', {"index": i})
        for i, entry in enumerate(values)
        if not _is_value(entry)
    ]
    rows, rejects = decode_fields(
        _fields(values), parsed.get("timestamp"), "timestamp", context, received_ms,
        defaults=DEFAULTS, to_number=number_from_text,
    )  # fmt: skip
    return rows, bad + rejects


def _is_value(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("value_type"), str) and "value" in entry


def _fields(values: list[Any]) -> Iterator[Field]:
    for entry in filter(_is_value, values):
        name = entry["value_type"]
        yield Field(name, name, name, entry["value"])
