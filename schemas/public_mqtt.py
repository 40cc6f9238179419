"""The public MQTT outlet: the newest reading of every series on a topic of its own, and as SensorThings has it.

    <prefix>/public/v1/<dataset>/<sensor>/<metric>      PublicValue as JSON, retained
    v1.1/Datastreams(<id>)/Observations                 Observation as JSON (OGC 18-088, 14), not retained

Whoever subscribes gets the newest value at once and every newer one. The gateway never subscribes to these topics,
and nobody but the outlet may write them.
"""

import hashlib

import msgspec


class PublicValue(msgspec.Struct, frozen=True):
    """The newest reading of a series, as it is on its retained topic.

    `start` is when the measurement began, RFC 3339 UTC; it lasted `period_s` seconds (0: an instant). `value` null is
    a reading without a value. `unit` is UCUM. `flag` is QARTOD's: 1 good, 2 not evaluated, 3 suspect, 4 fail (a newer
    judgement of the same reading), 9 missing. `rev` grows when the same reading is corrected.
    """

    start: str
    period_s: int
    value: float | None
    unit: str | None
    flag: int
    rev: int


def public_topic(prefix: str, dataset: str, sensor: str, metric: str) -> str:
    """Where the newest reading of a series is; all three names are safe in a topic."""
    return f"{prefix}/public/v1/{dataset}/{sensor}/{metric}"


def datastream_id(dataset: str, sensor: str, metric: str) -> int:
    """The id of a series in SensorThings, as `sta_id` in schemas/tables/0006_sensorthings.sql makes it."""
    return int(hashlib.md5(f"{dataset}/{sensor}/{metric}".encode(), usedforsecurity=False).hexdigest()[:13], 16)


def observations_topic(datastream: int) -> str:
    """Where the Observations of a Datastream are."""
    return f"v1.1/Datastreams({datastream})/Observations"
