from datetime import UTC, datetime

import pytest

from schemas.datasets import Dataset, Metric, parse_datasets, read_datasets, shipped_files
from schemas.errors import CityFolderError
from schemas.quantities import QUANTITIES
from schemas.units import conversion

SHIPPED = parse_datasets(shipped_files())

GOOD = """\
id = "noise"
title = "Noise"
description = "Sound levels"
licence = "CC0-1.0"
attribution = "City"
publisher = "City"
contact = "a@b.example"
category = "Environment"
department = "Environment"
data_type = "operational"
update_frequency = "PT1M"
accept_since = 2001-02-03T04:05:06.007Z
lateness_s = 60

[privacy]
reviewed = "2026-11-01"
reviewer = "A"
rule = "No sound is recorded."

[metrics.noise]
unit = "dB(A)"
period_s = 60
cadence_s = 60
fail = [0, 200]
suspect = [20, 130]
sentinels = [-999]
"""

CORRECTED = 'corrections."pm25-corr" = { by = "purpleair-us"'


def test_the_shipped_datasets_parse() -> None:
    assert set(SHIPPED) == {"air-quality", "traffic"}
    assert all(name == dataset.id for name, dataset in SHIPPED.items())


@pytest.mark.parametrize("dataset", SHIPPED.values(), ids=list(SHIPPED))
def test_a_shipped_dataset_is_complete(dataset: Dataset) -> None:
    assert dataset.title and dataset.description and dataset.licence and dataset.attribution and dataset.keywords
    assert dataset.privacy.reviewed and dataset.privacy.rule, "without a review it is not published"
    for name, metric in dataset.metrics.items():
        assert metric.description, name
        assert metric.fail and metric.suspect, f"{name}: the first quality rules"
        assert metric.period_s > 0 and metric.cadence_s > 0
        factor, offset = conversion(name, metric.unit) or (0.0, 0.0)
        for sentinel in metric.sentinels:
            value = sentinel * factor + offset
            assert not metric.suspect[0] <= value <= metric.suspect[1], f"{name}: {sentinel} could be a reading"


def test_the_shipped_datasets_have_what_the_sample_data_measure() -> None:
    assert {"pm25", "no2", "o3", "temperature", "humidity", "dewpoint"} <= set(SHIPPED["air-quality"].metrics)
    assert {"speed", "volume", "occupancy"} <= set(SHIPPED["traffic"].metrics)
    assert SHIPPED["traffic"].metrics["speed"].period_s == 300


def test_a_file_becomes_a_dataset() -> None:
    noise = parse_datasets({"datasets/noise.toml": GOOD})["noise"]
    assert noise.metrics == {
        "noise": Metric(unit="dB(A)", period_s=60, cadence_s=60, fail=(0, 200), suspect=(20, 130), sentinels=(-999,))
    }
    assert noise.accept_since == datetime(2001, 2, 3, 4, 5, 6, 7000, UTC)
    assert noise.accept_since_ms() == 981_173_106_007
    assert (noise.lateness_s, noise.silence_s) == (60, 900)


LINES = {line.split(" = ")[0]: number for number, line in enumerate(GOOD.splitlines(), 1)}
UNDER = LINES["[metrics.noise]"]  # the metric's keys are on the lines under it


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ('id = "noise"', 'id = "Noise"', 1, "id 'Noise' is reserved or not of the form"),
        ('id = "noise"', 'id = "live"', 1, "id 'live' is reserved or not of the form"),
        ('id = "noise"', 'id = "sound"', 1, "id 'sound' must be the file's name; call the file sound.toml"),
        ('title = "Noise"\n', "", 1, "title is missing; add it"),
        ('title = "Noise"', "title = 5", 2, "title: expected `str`, got `int`"),
        ('title = "Noise"', 'titel = "Noise"\ntitle = "N"', 2, "titel means nothing here; known are id, title"),
        ("lateness_s = 60", "lateness_s = -1", 13, "lateness_s must not be negative"),
        ("lateness_s = 60", "silence_s = -1", 13, "silence_s must not be negative"),
        ("lateness_s = 60", "lateness_s = 99999999999999999999", 13, "lateness_s must be at most 2678400 (31 days)"),
        ("lateness_s = 60", "repair_horizon_s = 9223372036854775807", 13, "repair_horizon_s must be at most"),
        ('title = "Noise"', 'title = " "', 2, "title is empty; say it"),
        ('title = "Noise"', r'title = "No\u0000ise"', 2, "title has a control character"),
        ('contact = "a@b.example"', 'contact = "the office"', 7, "contact is an e-mail address: whom researchers ask"),
        ('contact = "a@b.example"', 'contact = "a@b"', 7, "contact is an e-mail address: whom researchers ask"),
        ("lateness_s = 60", 'keywords = ["noise", ""]', 13, "keywords has one that is empty or has a control"),
        ('reviewer = "A"', 'reviewer = ""', 17, "privacy.reviewer is empty; say it"),
        ("04:05:06.007Z", "04:05:06", 12, "accept_since needs an offset, such as 2000-01-01T00:00:00Z"),
        ("T04:05:06.007Z", "", 12, "accept_since: expected `datetime`, got `date`"),
        ('reviewer = "A"\n', "", 15, "privacy.reviewer is missing; add it"),
        ("[metrics.noise]", "[metrics.nois]", UNDER, "metrics.nois: there is no such quantity"),
        ('unit = "dB(A)"', 'unit = "km/h"', UNDER + 1, "metrics.noise: no conversion from 'km/h' to dB"),
        ("period_s = 60", "period_s = -60", UNDER + 2, "metrics.noise.period_s: expected `int` >= 0"),
        ("cadence_s = 60", "cadence_s = 1e3", UNDER + 3, "metrics.noise.cadence_s: expected `int`, got `float`"),
        ("cadence_s = 60", "cadence_s = 99999999", UNDER + 3, "cadence_s: expected `int` <= 31622400"),
        ("fail = [0, 200]", "fail = [200, 0]", UNDER + 4, "metrics.noise: fail must be [low, high] with low"),
        ("fail = [0, 200]", "fail = [nan, 0]", UNDER + 4, "metrics.noise: fail must be [low, high] with low"),
        ("fail = [0, 200]", "fail = 200", UNDER + 4, "metrics.noise.fail: expected `array`, got `int`"),
        ("suspect = [20, 130]", "suspect = [5, 5]", UNDER + 5, "metrics.noise: suspect must be [low, high]"),
        ("suspect = [20, 130]", "suspect = [-1, 99]", UNDER + 5, "must lie within the fail span, [0, 200]"),
        ("[-999]", "[-9, -99, -999, 0, 1]", UNDER + 6, "metrics.noise.sentinels: expected `array` of length <= 4"),
        ("lateness_s = 60", 'indices = ["caqi"]', 13, "there is no index 'caqi'; there are us-aqi, nowcast"),
        ("lateness_s = 60", 'index_metrics = { noise = "pm25" }', 13, "no index is made of 'noise'; of co, no2"),
        ("lateness_s = 60", 'index_metrics = { pm25 = "noise" }', 13, "'noise' can't feed an index; pm25, pm10"),
        ("lateness_s = 60", 'index_metrics = { pm25 = "no2" }', 13, "'no2' is no measure of 'pm25'"),
        ("lateness_s = 60", 'index_metrics = { pm25 = "pm25-corr" }', 13, "nothing makes 'pm25-corr' here; name its"),
        ("lateness_s = 60", 'indices = ["daqi", "daqi"]', 13, "index 'daqi' is there twice"),
        ("lateness_s = 60", f"{CORRECTED}, humidity = 'pm25-corr' }}", 13, "'pm25-corr' is corrected itself"),
        ("lateness_s = 60", f"{CORRECTED}, humidity = 'pm25' }}", 13, "humidity is in %, and 'pm25' is not"),
        ("lateness_s = 60", f"{CORRECTED}, channels = ['pm1', 'pm1'] }}", 13, "channels are two, not 'pm1' twice"),
        ("lateness_s = 60", f"{CORRECTED}, channels = ['pm1', 'o3'] }}", 13, "channels are in ug/m3, and 'o3' is not"),
        ("lateness_s = 60", "lateness_s = true", 13, "lateness_s: expected `int`, got `bool`"),
        ("2001-02-03", "9999-02-03", 12, "accept_since is after 2100; all readings would be refused"),
        ('"2026-11-01"', '"last week"', 16, "privacy.reviewed is the day of the review, such as 2026-11-01"),
        ('"2026-11-01"', '"2026-11-31"', 16, "privacy.reviewed is the day of the review, such as 2026-11-01"),
        ('"PT1M"', '"PT0M"', 11, "update_frequency is an ISO 8601 duration, such as PT5M or P1D, above 0"),
        ('"PT1M"', '"P999999999999999999999D"', 11, "update_frequency is an ISO 8601 duration"),
        ("[0, 200]", f"[0, {'9' * 5000}]", UNDER + 4, "not TOML: a number has too many digits"),
        ("[0, 200]", f"[0, {'9' * 400}]", UNDER + 4, "metrics.noise.fail[1]: number out of range"),
        ("[0, 200]", "[" * 5000, UNDER + 4, "not TOML: nested too deeply"),
        ("[metrics.noise]", '[metrics.""]', UNDER, "metrics.'': there is no such quantity"),
        ('"No sound is recorded."', '"No sound', 18, "not TOML: "),
    ],
)  # fmt: skip
def test_impossible_parameters_are_refused_with_file_line_and_reason(old: str, new: str, line: int, says: str) -> None:
    assert old in GOOD
    with pytest.raises(CityFolderError) as caught:
        parse_datasets({"datasets/noise.toml": GOOD.replace(old, new)})
    ours = [p for p in caught.value.problems if says in p]
    assert len(caught.value.problems) == 1 and len(ours) == 1, caught.value.problems
    assert ours[0].startswith(f"datasets/noise.toml:{line}: ")


def test_a_dataset_without_metrics_is_a_mistake() -> None:
    with pytest.raises(CityFolderError, match=r"noise\.toml:20: a dataset has at least one metric"):
        parse_datasets({"noise.toml": GOOD[: GOOD.index("[metrics.noise]")] + "[metrics]\n"})


def test_a_dataset_says_what_feeds_its_indices() -> None:
    assert SHIPPED["air-quality"].index_inputs()["o3"] == "o3"
    ours = 'indices = ["nowcast"]\nindex_metrics = { pm25 = "pm25-corr" }\n'
    text = GOOD.replace("lateness_s = 60", f"{ours}{CORRECTED} }}")
    fed = parse_datasets({"noise.toml": text})["noise"].index_inputs()
    assert fed == {"pm25": "pm25-corr", "pm10": "pm10", "o3": "o3"}


def test_every_mistake_of_every_file_is_told() -> None:
    wrong = GOOD.replace("lateness_s = 60", "lateness_s = -60").replace("[20, 130]", "[20, 10]")
    datasets, problems = read_datasets(
        {"datasets/noise.toml": wrong, "datasets/x.toml": "id =", "datasets/a.toml": GOOD}
    )
    places = [problem.split(" ")[0] for problem in problems]
    assert places == ["datasets/noise.toml:13:", "datasets/noise.toml:25:", "datasets/x.toml:1:", "datasets/a.toml:1:"]
    assert set(datasets) == {"noise", "a"}, "by the names of their files"


def test_every_quantity_of_a_shipped_dataset_exists() -> None:
    for dataset in SHIPPED.values():
        assert set(dataset.metrics) <= set(QUANTITIES)
