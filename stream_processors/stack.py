"""Batches of readings stacked into one, so that a rule is called once for many; and their rows given back."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.readings import COLUMNS, PLACE_COLUMNS, Readings

Array = npt.NDArray[Any]


def stack(batches: Sequence[Readings]) -> Readings:
    """One batch of raw ones: their rows and their dictionaries one behind the other. A row of a batch without places
    has none (NaN) where another batch has some.
    """
    if len(batches) == 1:
        return batches[0]
    columns = {name: np.concatenate([getattr(batch, name) for batch in batches]) for name in COLUMNS}
    counts = [len(batch) for batch in batches]
    for name, of in (("sensor", "sensors"), ("metric", "metrics")):
        columns[name] = columns[name] + np.repeat(_bases(batches, of), counts).astype(COLUMNS[name])
    if any(batch.lon is not None for batch in batches):
        for name in PLACE_COLUMNS:
            places = [getattr(batch, name) for batch in batches]
            columns[name] = np.concatenate(
                [np.full(n, np.nan) if place is None else place for n, place in zip(counts, places, strict=True)]
            )
    sensors = tuple(itertools.chain.from_iterable(batch.sensors for batch in batches))
    metrics = tuple(itertools.chain.from_iterable(batch.metrics for batch in batches))
    return Readings(sensors, metrics, **columns)


def unstack(rows: Readings, of: Array, batches: Sequence[Readings]) -> Iterator[Readings]:
    """Rows of a stack given back to its batches, in their order: `of` (n) says which batch each row belongs to."""
    if len(batches) == 1:
        yield rows
        return
    if (of[1:] < of[:-1]).any():
        order = np.argsort(of, kind="stable")
        rows, of = rows.take(order), of[order]
    ends = np.searchsorted(of, np.arange(len(batches)), side="right").tolist()
    bases = zip(_bases(batches, "sensors"), _bases(batches, "metrics"), strict=True)
    begin = 0
    for batch, end, (sensor_base, metric_base) in zip(batches, ends, bases, strict=True):
        columns = {name: getattr(rows, name)[begin:end] for name in COLUMNS}
        columns["sensor"] = columns["sensor"] - np.uint32(sensor_base)
        columns["metric"] = columns["metric"] - np.uint16(metric_base)
        if batch.lon is not None and rows.lon is not None and rows.lat is not None:
            columns |= {"lon": rows.lon[begin:end], "lat": rows.lat[begin:end]}
        if rows.source_rev is not None and (rows.source_rev[begin:end] != columns["rev"]).any():
            columns["source_rev"] = rows.source_rev[begin:end]
        yield Readings(batch.sensors, batch.metrics, **columns)
        begin = end


def _bases(batches: Sequence[Readings], dictionary: str) -> list[int]:
    """Where each batch's dictionary begins in the stack's."""
    sizes = (len(getattr(batch, dictionary)) for batch in batches)
    return list(itertools.accumulate(sizes, initial=0))[:-1]
