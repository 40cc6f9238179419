"""Values that mean "no value", such as -999 or 65535, compared exactly in the unit that the source sends."""

from typing import Any

import numpy.typing as npt

from schemas.flags import Test
from stream_processors.quality.columns import Columns


def judge(columns: Columns) -> dict[Test, npt.NDArray[Any]]:
    """The mask (n,) of the sentinels. Their value becomes NaN in `clean`: there is none."""
    return {Test.SENTINEL: (columns.source_value[:, None] == columns.sentinels).any(axis=1)}
