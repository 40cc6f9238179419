import numpy as np

from schemas.indices.scale import banded


def test_a_band_has_its_upper_bound() -> None:
    scored = banded(np.array([-3.0, 0.0, 5.0, 5.000000000000001, 5.1, 99.0, np.nan, np.inf]), np.array([5, 15]))
    assert scored.value[:6].tolist() == [1, 1, 1, 1, 2, 3]
    assert np.isnan(scored.value[6:]).all()
    assert scored.category.tolist() == [0, 0, 0, 0, 1, 2, -1, -1]
