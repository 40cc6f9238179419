"""What the quality rules see of n readings."""

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of length n. `source_value` is in the source's unit, `value` and the spans in the canonical one;
    a span that is not set is (-inf, inf). `sentinels` (n, k) is padded with NaN. `evaluated`: the reading's
    series has at least one parameter set, so that passing means something.
    """

    value: Array
    source_value: Array
    fail_low: Array
    fail_high: Array
    suspect_low: Array
    suspect_high: Array
    sentinels: Array
    evaluated: Array
