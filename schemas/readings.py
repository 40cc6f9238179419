"""Readings as columns, one batch of them for one partition, and what could not become one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

DATASET_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
SENSOR_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,63}")  # safe in a URL and in an MQTT topic
METRIC_PATTERN = re.compile(r"[a-z][a-z0-9-]{0,31}")
MAX_SOURCE_REV = 2**30
"""The highest revision that a sensor or a file may give: as many again are left above it for the rules' amendments."""
RESERVED_DATASETS = frozenset({"datasets", "live", "sse", "poll", "archive", "exports", "public", "health", "ready"})


class Origin(IntEnum):
    """Where a reading came from: `live` from a sensor, `import` from a file of history."""

    LIVE = 0
    IMPORT = 1


COLUMNS: dict[str, np.dtype[Any]] = {
    "sensor": np.dtype("<u4"),  # index into `sensors`
    "metric": np.dtype("<u2"),  # index into `metrics`
    "start": np.dtype("<i8"),  # epoch ms UTC: the reading is of [start, start + period_s)
    "period_s": np.dtype("<i4"),  # 0 an instant, -1 not given (raw records only): the registry's
    "value": np.dtype("<f8"),
    "rev": np.dtype("<i4"),  # from 1
    "origin": np.dtype("u1"),
    "received": np.dtype("<i8"),  # epoch ms UTC at the gateway
    "flag": np.dtype("u1"),
    "tests": np.dtype("<u4"),
}
"""The columns of a batch, in the order of the wire; all of one length."""

PLACE_COLUMNS: dict[str, np.dtype[Any]] = {"lon": np.dtype("<f8"), "lat": np.dtype("<f8")}
"""Only in batches of mobile sensors: degrees WGS 84, NaN for a reading without a place."""

VERSION_COLUMNS: dict[str, np.dtype[Any]] = {"source_rev": np.dtype("<i4")}
"""Only in clean batches with a reading whose `rev` is not its sensor's: an amendment by our rules raises `rev` alone,
and the sensor's own number is kept here.
"""

OPTIONAL_COLUMNS: dict[str, np.dtype[Any]] = PLACE_COLUMNS | VERSION_COLUMNS

PERIOD_FROM_REGISTRY = -1
MAX_PERIOD_S = 366 * 86_400
PeriodS = Annotated[int, msgspec.Meta(ge=0, le=MAX_PERIOD_S)]
"""Seconds of a period or a cadence, in files and registrations; 0 is an instant."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Readings:
    """A batch of n readings: dictionaries of names and columns of length n (see `COLUMNS`).

    `metrics` holds (metric, unit as sent); after `clean` the unit is canonical.
    """

    sensors: tuple[tuple[str, str], ...]  # (dataset, sensor)
    metrics: tuple[tuple[str, str], ...]  # (metric, unit); "" is the registry's unit
    sensor: Array
    metric: Array
    start: Array
    period_s: Array
    value: Array
    rev: Array
    origin: Array
    received: Array
    flag: Array
    tests: Array
    lon: Array | None = None
    lat: Array | None = None
    source_rev: Array | None = None  # None: `rev` is the sensor's own

    def __len__(self) -> int:
        return len(self.value)

    def take(self, chosen: Array) -> "Readings":
        """The rows that a mask or an index array chooses; the dictionaries stay as they are."""
        columns = {name: getattr(self, name)[chosen] for name in COLUMNS}
        columns |= {name: c[chosen] for name in OPTIONAL_COLUMNS if (c := getattr(self, name)) is not None}
        return replace(self, **columns)

    def row(self, i: int) -> dict[str, Any]:
        """One reading with its names, for a reject."""
        dataset, sensor = self.sensors[int(self.sensor[i])]
        metric, unit = self.metrics[int(self.metric[i])]
        names = ("start", "period_s", "value", "rev", "origin", "received")
        row = {"dataset": dataset, "sensor": sensor, "metric": metric, "unit": unit}
        return row | {name: getattr(self, name)[i].item() for name in names}

    def source_revs(self) -> Array:
        """The sensor's own revision (n) of each reading."""
        return self.rev if self.source_rev is None else self.source_rev


def readings(
    sensors: Sequence[tuple[str, str]],
    metrics: Sequence[tuple[str, str]],
    *,
    lon: Any = None,
    lat: Any = None,
    source_rev: Any = None,
    **columns: Any,
) -> Readings:
    """Make a batch from sequences or scalars; what is not given is: period from the registry, rev 1, live,
    flag 2 (not evaluated), no tests. `sensor` and `value` are needed, `start` and `received` too.
    """
    n = len(columns["value"])
    defaults: dict[str, Any] = {
        "metric": 0, "period_s": PERIOD_FROM_REGISTRY, "rev": 1, "origin": Origin.LIVE, "flag": 2, "tests": 0,
    }  # fmt: skip
    made = {
        name: np.ascontiguousarray(np.broadcast_to(np.asarray(columns.get(name, defaults.get(name)), dtype), n))
        for name, dtype in COLUMNS.items()
    }
    given = {"lon": lon, "lat": lat, "source_rev": source_rev}
    made |= {
        name: np.ascontiguousarray(np.broadcast_to(np.asarray(column, OPTIONAL_COLUMNS[name]), n))
        for name, column in given.items()
        if column is not None
    }
    return Readings(tuple(sensors), tuple(metrics), **made)


EMPTY = readings((), (), sensor=[], value=[], start=[], received=[])
"""No readings: what ticks and poison records carry."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Something that could not become a reading, for the dead letters.

    `reason` is a stable code (`ingest_gateway.decoders` and `stream_processors.clean` list theirs), `detail` a
    sentence for a person, `row` what was meant where only a part of a message is refused.
    """

    reason: str
    detail: str
    row: dict[str, Any] = field(default_factory=dict)
