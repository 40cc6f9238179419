"""The index of a place: that of its worst pollutant, which it names."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.indices.scale import NO_DATA, Scored

Array = npt.NDArray[Any]


def worst(of_metric: Mapping[str, Scored]) -> tuple[Scored, list[str | None]]:
    """The overall index (n) of pollutants' indices (n each), and the pollutant that drives each value.

    Of equal values the pollutant that was given first drives; None where none has data.
    """
    if not of_metric:
        return Scored(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, bool)), []
    metrics = list(of_metric)
    values = np.array([of_metric[metric].value for metric in metrics])
    there = np.isfinite(values)
    row = np.argmax(np.where(there, values, -np.inf), axis=0)
    column = np.arange(values.shape[1])
    some = there.any(axis=0)

    def chosen(name: str, nothing: Any) -> Array:
        table = np.array([getattr(of_metric[metric], name) for metric in metrics])
        picked: Array = np.where(some, table[row, column], nothing)
        return picked

    drivers = [metrics[i] if there_is else None for i, there_is in zip(row.tolist(), some.tolist(), strict=True)]
    return Scored(chosen("value", np.nan), chosen("category", NO_DATA), chosen("beyond", False)), drivers
