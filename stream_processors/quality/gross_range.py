"""QARTOD test 4, gross range: outside what the sensor can report is fail, outside what is plausible suspect.

Ends belong to the span (ioos_qc's `gross_range_test`: fails `value < low or value > high`).
"""

from typing import Any

import numpy.typing as npt

from schemas.flags import Test
from stream_processors.quality.columns import Columns


def judge(columns: Columns) -> dict[Test, npt.NDArray[Any]]:
    """Masks (n,) of the readings out of the fail span and out of the suspect span."""
    fail = (columns.value < columns.fail_low) | (columns.value > columns.fail_high)
    suspect = (columns.value < columns.suspect_low) | (columns.value > columns.suspect_high)
    return {Test.GROSS_RANGE_FAIL: fail, Test.GROSS_RANGE_SUSPECT: suspect & ~fail}
