"""A row of the live feed as a SensorThings Observation, the same as `/sensorthings/v1.1/Observations(...)` shows it."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
from cityfeed_client import Row

from schemas.flags import Test
from schemas.public_mqtt import datastream_id, observations_topic

_TESTS = {int(test): (test.name or "").lower().replace("_", "-") for test in Test}


def message(row: Row, root: str) -> tuple[bytes, bytes]:
    """(topic, payload); `root` is the address of the service."""
    datastream = datastream_id(row["dataset"], row["sensor"], row["metric"])
    return observations_topic(datastream).encode(), msgspec.json.encode(_observation(row, datastream, root))


def _observation(row: Row, datastream: int, root: str) -> dict[str, Any]:
    start = datetime.fromisoformat(row["start"])
    end = _text(start + timedelta(seconds=row["period_s"]))
    key = f"{datastream}-{round(start.timestamp() * 1000)}"
    link = f"{root}/Observations('{key}')"
    fired = row.get("tests", 0)
    return {
        "@iot.id": key,
        "@iot.selfLink": link,
        "phenomenonTime": f"{row['start']}/{end}" if row["period_s"] else row["start"],
        "resultTime": end,
        "result": row["value"],
        "resultQuality": {
            "scheme": "QARTOD", "flag": row["flag"], "tests": [name for bit, name in _TESTS.items() if fired & bit],
        },
        "validTime": None,
        "parameters": {"rev": row["rev"], "origin": row["origin"], "received": row["received"]},
        "Datastream@iot.navigationLink": f"{link}/Datastream",
        "FeatureOfInterest@iot.navigationLink": f"{link}/FeatureOfInterest",
    }  # fmt: skip


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
