"""Decoders: bytes of a message -> (rows, rejects). They are pure, and raise nothing whatever they are given.

To add a family, add a file with a `decode`, a line to `DECODERS`, the name to `schemas.city.DECODER_NAMES`, and
its payloads, good and bad, to tests/ingest_gateway/.
"""

from ingest_gateway.decoders import cityfeed, senml, sensor_community, tasmota, zigbee2mqtt
from ingest_gateway.decoders.rows import MAX_READINGS, Context, Decoded, Decoder, Row
from schemas.readings import Reject

DECODERS: dict[str, Decoder] = {
    "cityfeed": cityfeed.decode,
    "senml": senml.decode,
    "tasmota": tasmota.decode,
    "zigbee2mqtt": zigbee2mqtt.decode,
    "sensor-community": sensor_community.decode,
}

REASONS: dict[str, str] = {
    # the topic
    "topic_unknown": "No dataset and no source of sources.toml has this topic.",
    "topic_dataset": "The topic's dataset is not a dataset's id.",
    "topic_sensor": "The topic's sensor is not a sensor's id.",
    "dataset_unknown": "There is no dataset of this id.",
    # the payload
    "payload_empty": "There is nothing in the message.",
    "payload_type": "The JSON is not of the kind that the decoder reads.",
    "not_utf8": "The bytes are not UTF-8.",
    "not_json": "The text is not JSON (NaN and Infinity are not).",
    "too_deep": "The JSON is nested too deeply.",
    "number_range": "A number is too large for a 64-bit float.",
    "duplicate_key": "An object has the same key twice.",
    "too_many_readings": "One message has too many readings.",
    "object_type": "An entry of an array is not an object, or not of the family's shape.",
    # the time
    "t_missing": "A reading has no time.",
    "t_type": "The time is neither a whole number nor text.",
    "t_seconds": "The time is in seconds.",
    "t_range": "The time is before 1973 or after 9999, or in another unit.",
    "t_format": "The time's text is not RFC 3339.",
    "t_offset": "The time has no offset, and the source no time zone.",
    "t_relative": "The time is relative to now (SenML), which is not the same when a message comes again.",
    # what goes with all values of an object
    "period": "period_s is not whole seconds.",
    "period_missing": "The source stamps the end of a period that is not known.",
    "rev": "rev is not a whole number from 1 to 2^30.",
    "origin": "origin is neither live nor import.",
    "place": "lon and lat are not a place.",
    "unit": "unit or units is not what it should be.",
    "senml_label": "A SenML label that must be understood is not.",
    "senml_version": "A newer SenML.",
    "senml_type": "A SenML field has the wrong type.",
    # a metric
    "no_metric": "There is nothing measured in the object.",
    "metric_name": "A metric's name is not one.",
    "metric_missing": "A value without the name of its metric.",
    "metric_twice": "Two fields of a message are the same metric.",
    "field_unknown": "A field beside metric and value that has no meaning.",
    "value_missing": "A metric without its value.",
    "value_type": "A value is not a number.",
    "value_range": "A value is not finite.",
    # .../meta
    "registration": "The registration has a mistake.",
    # ours
    "decoder_error": "A mistake of ours: please report it with the payload.",
}
"""Every reason that a reject of the gateway may have, and what it means."""


def decode(decoder: Decoder, payload: bytes, context: Context, received_ms: int) -> Decoded:
    """Rows and rejects of a message; the only road to a decoder.

    A decoder's own mistake is a reject too: one message must not stop all others.
    """
    try:
        rows, rejects = decoder(payload, context, received_ms)
    except Exception as e:
        return [], [Reject("decoder_error", f"{type(e).__name__}: {str(e)[:120]}")]
    if len(rows) > MAX_READINGS:
        return [], [Reject("too_many_readings", f"{len(rows)} readings in one message; send at most {MAX_READINGS}")]
    return rows, rejects


__all__ = ["DECODERS", "MAX_READINGS", "REASONS", "Context", "Decoded", "Decoder", "Row", "decode"]
