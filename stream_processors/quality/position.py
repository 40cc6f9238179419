"""QARTOD test 3, position: a mobile sensor's reading from outside the dataset's bounding box, or from nowhere on Earth.

As ioos_qc's `location_test` (|lat| > 90, |lon| > 180 or only one of the two: fail) and `location_bounds_test`, but
ends belong to the box. A reading without a place passes: a fixed sensor's is in the registry.
"""

import numpy as np

from schemas.flags import Test
from stream_processors.quality.columns import Columns, Verdict


def judge(columns: Columns) -> Verdict:
    """The readings whose place can't be."""
    lon, lat, p = columns.lon, columns.lat, columns.parameters
    if lon is None or lat is None:
        return Verdict({})
    placed = ~(np.isnan(lon) & np.isnan(lat))
    inside = (lon >= p["west"]) & (lon <= p["east"]) & (lat >= p["south"]) & (lat <= p["north"])
    return Verdict({Test.POSITION_FAIL: placed & ~inside})
