"""NaN and the infinities, from a source or from a conversion that overflowed: no value at all, so flag 9."""

import numpy as np

from schemas.flags import Test
from stream_processors.quality.columns import Columns, Verdict


def judge(columns: Columns) -> Verdict:
    """What is not a finite number; its value becomes NaN, which no aggregate counts."""
    return Verdict({Test.NOT_A_NUMBER: ~np.isfinite(columns.value)})
