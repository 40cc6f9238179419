"""The sensor's clock against the gateway's: a reading that begins after it was received, or ended long before.

Neither needs another reading. More than CITYFEED_FUTURE_TOLERANCE_S ahead is no reading (dead letters); what is
less than that ahead, or so far behind that it is rather a wrong clock than a late delivery, is suspect. Imports
are late by nature and are not judged. `behind_s` is set where sensors do not store readings to send them later.
"""

import numpy as np

from schemas.flags import Test
from stream_processors.quality.columns import Columns, Verdict


def judge(columns: Columns) -> Verdict:
    """The readings whose time can't be right."""
    p, ahead_ms = columns.parameters, columns.start - columns.received
    ahead = ahead_ms > p["ahead_ms"]
    behind = ahead_ms + columns.period_s.astype(np.int64) * 1000 < -p["behind_ms"]
    if not (ahead | behind).any():
        return Verdict({})
    return Verdict({Test.CLOCK_AHEAD: columns.live & ahead, Test.CLOCK_BEHIND: columns.live & behind})
