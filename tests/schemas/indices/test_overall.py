import numpy as np

from schemas.indices import us_aqi
from schemas.indices.overall import worst


def test_the_worst_pollutant_drives_the_index() -> None:
    scored, drivers = worst(
        {
            "pm25": us_aqi.score("pm25", np.array([5.0, 60.0, np.nan, np.nan]), "2024"),
            "pm10": us_aqi.score("pm10", np.array([100.0, 30.0, 20.0, np.nan]), "2024"),
        }
    )
    assert drivers == ["pm10", "pm25", "pm10", None]
    assert scored.value[:3].tolist() == [73, 154, 19]
    assert np.isnan(scored.value[3])
    assert scored.category.tolist() == [1, 3, 0, -1]


def test_of_equal_pollutants_the_first_drives() -> None:
    even = us_aqi.score("pm25", np.array([9.0]), "2024")
    assert worst({"pm25": even, "o3": even})[1] == ["pm25"]
    assert worst({"o3": even, "pm25": even})[1] == ["o3"]


def test_no_pollutant_is_no_data() -> None:
    scored, drivers = worst({})
    assert len(scored.value) == 0
    assert drivers == []
