"""NaN, the infinities, and numbers that no instrument gives, whose squares would be infinite: no value, so flag 9."""

import numpy as np

from schemas.flags import Test
from schemas.quality import HUGE
from stream_processors.quality.columns import Columns, Verdict


def judge(columns: Columns) -> Verdict:
    """What is not a finite number; its value becomes NaN, which no aggregate counts."""
    return Verdict({Test.NOT_A_NUMBER: ~(np.abs(columns.value) < HUGE)})
