"""QARTOD test 4, gross range: outside what the sensor can report is fail, outside what is plausible suspect.

Ends belong to the span (ioos_qc's `gross_range_test`: fails `value < low or value > high`).
"""

from schemas.flags import Test
from stream_processors.quality.columns import Columns, Verdict


def judge(columns: Columns) -> Verdict:
    """The readings out of the fail span, and those out of the suspect span only."""
    p, value = columns.parameters, columns.value
    fail = (value < p["fail_low"]) | (value > p["fail_high"])
    suspect = (value < p["suspect_low"]) | (value > p["suspect_high"])
    return Verdict({Test.GROSS_RANGE_FAIL: fail, Test.GROSS_RANGE_SUSPECT: suspect & ~fail})
