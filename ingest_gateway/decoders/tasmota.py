"""Tasmota, `tele/<device>/SENSOR`.

    {"Time": "2026-01-31T12:00:00", "BME280": {"Temperature": 21.3, "Humidity": 40.1}, "TempUnit": "C"}

`Time` is local time without an offset unless the device runs on UTC: the source needs its `time_zone`. Fields are
mapped by dotted path (`BME280.Temperature`); a source that maps nothing takes those of `DEFAULTS`.
"""

from ingest_gateway.decoders.json_text import parse
from ingest_gateway.decoders.mapped import decode_fields, leaves
from ingest_gateway.decoders.rows import Context, Decoded, shown
from schemas.city import SourceMetric
from schemas.readings import Reject

# Names in Tasmota's sensor drivers; in ug/m3 and ppm where they have no unit of their own.
DEFAULTS: dict[str, SourceMetric] = {
    "Temperature": SourceMetric("temperature"),
    "Humidity": SourceMetric("humidity"),
    "DewPoint": SourceMetric("dewpoint"),
    "Pressure": SourceMetric("pressure"),
    "CarbonDioxide": SourceMetric("co2", "[ppm]"),
    "PM1": SourceMetric("pm1", "ug/m3"),
    "PM2.5": SourceMetric("pm25", "ug/m3"),
    "PM10": SourceMetric("pm10", "ug/m3"),
}
_UNIT_FIELDS = {"temperature": "TempUnit", "dewpoint": "TempUnit", "pressure": "PressureUnit"}


def decode(payload: bytes, context: Context, received_ms: int) -> Decoded:
    """Rows and rejects of a SENSOR message."""
    parsed = parse(payload)
    if isinstance(parsed, Reject):
        return [], [parsed]
    if not isinstance(parsed, dict):
        return [], [Reject("payload_type", f"the payload is {shown(parsed)}; Tasmota sends an object")]

    def unit_of(metric: str) -> str:
        unit = parsed.get(_UNIT_FIELDS.get(metric, ""), "")
        return unit if isinstance(unit, str) and len(unit) <= 32 else ""

    return decode_fields(
        leaves(parsed), parsed.get("Time"), "Time", context, received_ms, defaults=DEFAULTS, unit_of=unit_of
    )
