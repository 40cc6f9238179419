"""The table of May 2024 as EPA prints it (EPA-454/B-24-002, table 6), by decimal arithmetic: each step of each row."""

from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pytest

from schemas.indices import us_aqi

INDEX = ((0, 50), (51, 100), (101, 150), (151, 200), (201, 300), (301, 500))

# metric, hours, digits, canonical units in the printed one, rows ("-": the table has none)
PRINTED = [
    ("pm25", 24, "0.1", 1, "0-9.0 9.1-35.4 35.5-55.4 55.5-125.4 125.5-225.4 225.5-325.4"),
    ("pm10", 24, "1", 1, "0-54 55-154 155-254 255-354 355-424 425-604"),
    ("o3", 8, "0.001", 1000, "0-.054 .055-.070 .071-.085 .086-.105 .106-.200"),
    ("o3", 1, "0.001", 1000, "- - .125-.164 .165-.204 .205-.404 .405-.604"),
    ("co", 8, "0.1", 1, "0-4.4 4.5-9.4 9.5-12.4 12.5-15.4 15.5-30.4 30.5-50.4"),
    ("so2", 1, "1", 1, "0-35 36-75 76-185 186-304"),
    ("so2", 24, "1", 1, "- - - - 305-604 605-1004"),
    ("no2", 1, "1", 1, "0-53 54-100 101-360 361-649 650-1249 1250-2049"),
]


@pytest.mark.parametrize(("metric", "hours", "digits", "factor", "rows"), PRINTED)
def test_every_step_and_what_is_truncated_to_it(metric: str, hours: int, digits: str, factor: int, rows: str) -> None:
    step, concentrations, expected = Decimal(digits), [], []
    for (index_low, index_high), row in zip(INDEX, rows.split(), strict=False):
        if row == "-":
            continue
        low, high = map(Decimal, row.split("-"))
        for i in range(int((high - low) / step) + 1):
            index = (index_high - index_low) * (i * step) / (high - low) + index_low
            for part in ("0", "0.5", "0.99"):  # of a step: cut off, whatever it is
                concentrations.append(float(low + (i + Decimal(part)) * step) * factor)
                expected.append(int(index.quantize(Decimal(1), ROUND_HALF_UP)))
    scored = us_aqi.score(metric, np.array(concentrations), "2024", hours)
    wrong = np.flatnonzero(scored.value != expected)
    assert [(concentrations[i], scored.value[i], expected[i]) for i in wrong.tolist()] == []
