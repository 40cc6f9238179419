"""Stored readings that have other flags now: the next `rev`, the old row to the history, and out on
`readings.amended`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas import topics
from schemas.published import Texts
from stream_processors import metrics
from stream_processors.outgoing import names_of
from stream_processors.owner import Work

Array = npt.NDArray[Any]


async def put_amended(work: Work, loaded: Mapping[str, Array], flag: Array, tests: Array) -> dict[str, Array]:
    """Give stored readings (columns of `store.readings.JUDGED`, length n) these flags and tests; gives the rows as
    they are now. What follows for windows is the caller's.
    """
    amended = {**loaded, "flag": flag, "tests": tests, "rev": loaded["rev"] + 1}
    await work.store.put_judged(amended)
    owner = work.owner
    slot = owner.slots(amended["series"])
    part = owner.table.columns["part"][slot]
    published: dict[str, Array | Texts] = {
        **names_of(owner.table.keys, slot),
        **{name: amended[name] for name in ("start", "period_s", "value", "flag", "tests", "rev", "source_rev")},
        **{name: amended[name] for name in ("origin", "received")},
        "published": np.full(len(slot), work.store.now_ms),
        "out_seq": work.outgoing.number(part),
    }
    work.outgoing.add(topics.AMENDED, part, published)
    metrics.READINGS_AMENDED.inc(len(slot))
    return amended
