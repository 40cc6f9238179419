"""Rows of one partition, gathered in the order they came, to columnar records of `schemas.wire`."""

from typing import Any

import numpy as np

from ingest_gateway.decoders.rows import Row
from schemas import wire
from schemas.readings import COLUMNS, PERIOD_FROM_REGISTRY, PLACE_COLUMNS, Readings
from schemas.registry import Registry

# A reading is 45 bytes, 61 with a place: a record of so many stays under the 4 MiB of `schemas.topics.topic_config`,
# names of sensors included, whatever size the settings ask for.
MAX_RECORD_READINGS = 20_000

_FLAG_NOT_EVALUATED = 2


class PartitionBatch:
    """What was gathered for one partition since the last `take`."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.rows: list[Row] = []
        self._sensors: list[tuple[str, str]] = []  # of each row
        self._received: list[int] = []  # of each row, epoch ms UTC

    def add(self, sensor: tuple[str, str], rows: list[Row], received_ms: int) -> None:
        """Add a message's rows; `sensor` is (dataset, sensor)."""
        self.rows += rows
        if len(rows) == 1:
            self._sensors.append(sensor)
            self._received.append(received_ms)
        else:
            self._sensors += [sensor] * len(rows)
            self._received += [received_ms] * len(rows)

    def take(self) -> list[bytes]:
        """The records of all rows, each of at most `MAX_RECORD_READINGS`; the batch is empty then."""
        rows, sensors, received = self.rows, self._sensors, self._received
        self.rows, self._sensors, self._received = [], [], []
        step = MAX_RECORD_READINGS
        return [
            wire.encode(wire.Record("raw", readings_of(*some, self._registry)))
            for some in (
                (rows[i : i + step], sensors[i : i + step], received[i : i + step]) for i in range(0, len(rows), step)
            )
        ]


def readings_of(rows: list[Row], sensors: list[tuple[str, str]], received: list[int], registry: Registry) -> Readings:
    """Columns from rows, with the (dataset, sensor) and the receive time of each row; at least one row.

    Where a row has no unit or no period, the registered ones are written in as they are now: a record says what
    it means, whatever is registered later and whenever it is read.
    """
    metric, unit, start, period_s, value, rev, origin, lon, lat = zip(*rows, strict=True)
    rules = [registry.rule(*sensor, name) for sensor, name in zip(sensors, metric, strict=True)]
    unit = tuple(sent or rule.unit for sent, rule in zip(unit, rules, strict=True))
    period_s = tuple(
        rule.period_s if sent == PERIOD_FROM_REGISTRY else sent for sent, rule in zip(period_s, rules, strict=True)
    )
    sensor_names, sensor_index = _dictionary(sensors)
    metric_names, metric_index = _dictionary(list(zip(metric, unit, strict=True)))
    n = len(rows)
    columns: dict[str, Any] = {
        "sensor": sensor_index,
        "metric": metric_index,
        "start": start,
        "period_s": period_s,
        "value": value,
        "rev": rev,
        "origin": origin,
        "received": received,
    }
    arrays = {name: np.array(column, COLUMNS[name]) for name, column in columns.items()}
    arrays["flag"] = np.full(n, _FLAG_NOT_EVALUATED, COLUMNS["flag"])
    arrays["tests"] = np.zeros(n, COLUMNS["tests"])
    places = np.array(lon, PLACE_COLUMNS["lon"])
    if not np.isnan(places).all():
        arrays |= {"lon": places, "lat": np.array(lat, PLACE_COLUMNS["lat"])}
    return Readings(tuple(sensor_names), tuple(metric_names), **arrays)


def _dictionary(names: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[int]]:
    """The different names in the order of their first use, and the index of each."""
    index: dict[tuple[str, str], int] = {}
    indices = [index.setdefault(name, len(index)) for name in names]
    return list(index), indices
