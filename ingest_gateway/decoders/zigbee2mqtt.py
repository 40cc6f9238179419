"""Zigbee2MQTT, `zigbee2mqtt/<device>`: one flat object of the device's state.

    {"temperature": 21.3, "humidity": 40.1, "battery": 97, "linkquality": 120, "last_seen": "2026-01-31T12:00:00Z"}

`last_seen` is there if Zigbee2MQTT is configured so (`advanced.last_seen`, ISO_8601 or epoch); without it the source
needs `time = "received"`. A source that maps nothing takes the fields that are named like a quantity.
"""

from ingest_gateway.decoders.json_text import parse
from ingest_gateway.decoders.mapped import decode_fields, leaves
from ingest_gateway.decoders.rows import Context, Decoded, shown
from schemas.city import SourceMetric
from schemas.quantities import QUANTITIES
from schemas.readings import Reject

DEFAULTS: dict[str, SourceMetric] = {name: SourceMetric(name) for name in QUANTITIES}


def decode(payload: bytes, context: Context, received_ms: int) -> Decoded:
    """Rows and rejects of a device's message."""
    parsed = parse(payload)
    if isinstance(parsed, Reject):
        return [], [parsed]
    if not isinstance(parsed, dict):
        return [], [Reject("payload_type", f"the payload is {shown(parsed)}; Zigbee2MQTT sends an object")]
    return decode_fields(leaves(parsed), parsed.get("last_seen"), "last_seen", context, received_ms, defaults=DEFAULTS)
