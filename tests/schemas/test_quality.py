"""Parameters of quality rules: what can't be meant is refused."""

import pytest

from schemas.datasets import parse_datasets
from schemas.errors import CityFolderError
from schemas.quality import Quality, Spike, attenuated_readings, flat_line_steps, merged
from tests.schemas.test_datasets import GOOD

LAST = len(GOOD.splitlines()) + 1  # where what is added begins


@pytest.mark.parametrize(
    ("added", "says"),
    [
        ("spike = {}", "spike has a suspect limit, a fail limit or both"),
        ("spike = { suspect = 0 }", "spike: a limit must be above 0"),
        ("spike = { suspect = 9, fail = 3 }", "spike: the suspect limit must be below the fail limit, 3"),
        ("spike = { suspect = nan }", "spike: nan is not a number to compare with"),
        ("spike = { suspect = inf }", "spike: inf is not a number to compare with"),
        ("spike = { fail = 500 }", "values within the fail span [0, 200] never differ by 500"),
        ('spike = { fail = 5, method = "median" }', "invalid enum value 'median'; there are average, diff"),
        ("spike = { suspekt = 5 }", "spike.suspekt means nothing here; known are suspect, fail, method"),
        ("rate_of_change = { fail = -1 }", "rate_of_change: a limit must be above 0"),
        ("flat_line = { tolerance = 0.1 }", "flat_line has suspect_s, fail_s or both"),
        ("flat_line = { tolerance = 0, fail_s = 600 }", "flat_line: tolerance must be above 0"),
        ("flat_line = { tolerance = 1, suspect_s = 600, fail_s = 600 }", "suspect_s must be below fail_s, 600"),
        ("flat_line = { tolerance = 1, suspect_s = 60 }", "readings come every 60 s; use at least 120 s"),
        ("flat_line = { tolerance = 1, fail_s = 604800 }", "would keep 10081 readings of each series; at most"),
        ("attenuated = { period_s = 600, min_obs = 5 }", "attenuated has a suspect limit, a fail limit or both"),
        ("attenuated = { period_s = 600, min_obs = 5, suspect = 1, fail = 2 }", "must be below the suspect limit, 1"),
        ("attenuated = { period_s = 600, min_obs = 12, suspect = 1 }", "12 readings every 60 s do not fit in 600 s"),
        ("attenuated = { period_s = 600, min_obs = 1, suspect = 1 }", "attenuated.min_obs: expected `int` >= 2"),
        ("time_gap = { suspect_s = 60 }", "readings come every 60 s, so each would be flagged"),
        ("flat_line = { tolerance = 201, fail_s = 600 }", "values within the fail span [0, 200] never differ by 201"),
        ("attenuated = { period_s = 600, min_obs = 5, fail = 101 }", "[0, 200] deviate by more than 100"),
        ("clock = {}", "clock has ahead_s, behind_s or both"),
        ("detector = {}", "put it in metrics.occupancy"),
        ("clock = { ahead_s = 900 }", "clock.ahead_s: expected `int` <= 300"),
        ("climatology = [{ months = [1, 1], suspect = [0, 9] }]", "climatology: month 1 is there twice"),
        ("climatology = [{ months = [1] }]", "a season has a suspect span, a fail span or both"),
        ("climatology = [{ months = [13], suspect = [0, 9] }]", "months[0]: expected `int` <= 12"),
        ("climatology = [{ months = [1], suspect = [9, 0] }]", "a span must be [low, high] with low < high"),
        ("climatology = [{ months = [1], suspect = [0, 9], fail = [1, 9] }]", "must lie within the fail span, [1, 9]"),
        ("climatology = [{ months = [1], suspect = [300, 400] }]", "[300, 400] is outside of the fail span, [0, 200]"),
        ("attenuated = { period_s = 600, min_obs = 5, suspect = 1e300 }", "attenuated: 1e+300 is not a number"),
        ("spike = 5", "metrics.noise.spike: expected `table`, got `int`"),
        ("neighbours = { radius_m = 9, suspect = 1, min_sensors = 99999 }", "min_sensors: expected `int` <= 1000"),
        ("neighbours = { radius_m = 1000, suspect = 0 }", "neighbours: suspect must be above 0"),
        ("neighbours = { radius_m = 0, suspect = 1 }", "neighbours.radius_m: expected `float` > 0"),
    ],
)  # fmt: skip
def test_impossible_parameters_are_refused_with_file_line_and_reason(added: str, says: str) -> None:
    with pytest.raises(CityFolderError) as caught:
        parse_datasets({"datasets/noise.toml": f"{GOOD}{added}\n"})
    assert len(caught.value.problems) == 1 and says in caught.value.problems[0], caught.value.problems
    assert caught.value.problems[0].startswith(f"datasets/noise.toml:{LAST}: ")


@pytest.mark.parametrize(
    ("added", "line", "says"),
    [
        ("[sensors.a.noise]\nspike = { suspect = 0 }", LAST + 1, "sensors.a.noise: spike: a limit must be above 0"),
        ("[sensors.a.noise]\nfail = [50, 60]", LAST, "suspect span must lie within the fail span, [50, 60]"),
        ("[sensors.a.pm25]\nfail = [0, 1]", LAST, "sensors.a: the dataset has no metric 'pm25'"),
        ('[sensors."a b".noise]\nfail = [0, 150]', LAST, "sensors: 'a b' is not of the form"),
        ("[position]\nbbox = [14.0, 52.0, 13.0, 53.0]", LAST + 1, "bbox must be [minLon, minLat, maxLon, maxLat]"),
    ],
)
def test_a_sensors_own_parameters_are_held_to_the_same(added: str, line: int, says: str) -> None:
    with pytest.raises(CityFolderError) as caught:
        parse_datasets({"datasets/noise.toml": f"{GOOD}{added}\n"})
    assert any(says in p and p.startswith(f"datasets/noise.toml:{line}: ") for p in caught.value.problems), (
        caught.value.problems
    )


def test_a_sensors_own_parameters_win_rule_by_rule() -> None:
    own = "spike = { suspect = 5 }\n[sensors.roof.noise]\nfail = [10, 190]\nsentinels = [-1]"
    dataset = parse_datasets({"datasets/noise.toml": f"{GOOD}{own}\n"})["noise"]
    roof, other = dataset.quality("roof", "noise"), dataset.quality("yard", "noise")
    assert (roof.fail, roof.suspect, roof.sentinels, roof.spike) == ((10, 190), (20, 130), (-1,), Spike(5))
    assert other == dataset.metrics["noise"] and roof.cadence_s == other.cadence_s == 60
    assert dataset.quality("roof", "pm25").fail is None


def test_merged_keeps_what_the_special_one_does_not_say() -> None:
    assert merged(Quality(fail=(0, 1), spike=Spike(2)), Quality(spike=Spike(3))) == Quality(fail=(0, 1), spike=Spike(3))


def test_seconds_become_numbers_of_readings() -> None:
    assert (flat_line_steps(600, 60), flat_line_steps(None, 60), flat_line_steps(600, 0)) == (10, 0, 0)
    assert (attenuated_readings(600, 60), attenuated_readings(600, 0)) == (11, 0)
