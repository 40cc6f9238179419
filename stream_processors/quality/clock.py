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
    p = columns.parameters
    ahead_ms = columns.start - columns.received
    behind_ms = columns.received - columns.start - columns.period_s.astype(np.int64) * 1000
    return Verdict(
        {
            Test.CLOCK_AHEAD: columns.live & (ahead_ms > p["ahead_ms"]),
            Test.CLOCK_BEHIND: columns.live & (behind_ms > p["behind_ms"]),
        }
    )
