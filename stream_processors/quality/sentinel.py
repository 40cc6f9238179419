"""Values that mean "no value", such as -999 or 65535, compared exactly in the unit that the source sends."""

from schemas.flags import Test
from stream_processors.quality.columns import Columns, Verdict


def judge(columns: Columns) -> Verdict:
    """The sentinels. Their value becomes NaN in `clean`: there is none."""
    sentinels = columns.parameters["sentinels"]
    return Verdict({Test.SENTINEL: (columns.source_value[:, None] == sentinels).any(axis=1)})
