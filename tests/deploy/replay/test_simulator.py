"""The simulated city: the same for the same seed, real courses, the faults that were asked for."""

from dataclasses import replace
from itertools import islice

import numpy as np
import orjson
import pytest

from deploy.cli.simulate import meta_message
from deploy.replay.simulator import BLOCK, PROFILES, SENTINEL, Fault, Faults, Simulator, sample_week
from schemas.city import CityInfo
from schemas.errors import CityfeedError

BEGIN_MS = 1_795_000_000_000
TRAFFIC = PROFILES["traffic"]
CITY = Simulator(sample_week(TRAFFIC), TRAFFIC, sensors=500, rate=1_000, begin_ms=BEGIN_MS)
ALL_FAULTS = Faults(0.01, 0.05, 0.05, 0.01, 0.01)


def test_the_same_seed_is_the_same_city_and_another_is_another() -> None:
    again = replace(CITY)
    other = replace(CITY, seed=2)
    assert next(CITY.blocks()) == next(again.blocks()) != next(other.blocks())


def test_any_part_can_be_made_without_the_rest() -> None:
    city = replace(CITY, faults=ALL_FAULTS, per_message=3)
    whole, part = city.columns(0, 5_000), city.columns(1_234, 100)
    for name in ("sensor", "fault", "t_ms", "value"):
        assert (getattr(whole, name)[1_234:1_334] == getattr(part, name)).all()
    blocks = [message for block in islice(city.blocks(), 2) for message in block]
    assert blocks[BLOCK : BLOCK + 10] == next(city.blocks(BLOCK))[:10]


@pytest.mark.parametrize("per_message", [1, 10])
def test_each_sensor_sends_in_turn_and_no_stamp_is_after_its_sending_or_twice(per_message: int) -> None:
    city = replace(CITY, per_message=per_message)
    columns = city.columns(0, 4_000)
    assert (columns.sensor == np.arange(4_000) % 500).all()
    sent_ms = BEGIN_MS + (np.arange(4_000) + 1) * 1000 / city.rate
    assert (columns.t_ms[:, -1] <= sent_ms).all() and (columns.t_ms[:, -1] > sent_ms - 1).all()
    own = columns.t_ms[columns.sensor == 7].ravel()
    assert (np.diff(own) >= city.spacing_ms - 1).all()


def test_values_follow_the_recorded_week() -> None:
    """At night the roads are faster than in the evening rush, in the simulated city too."""
    city = replace(CITY, rate=500 / 300, begin_ms=CITY.week.origin_ms)  # a message of each sensor every five minutes
    columns = city.columns(0, 288 * 500)
    mean_of_hour = columns.value.reshape(24, -1).mean(axis=1)
    recorded = (CITY.week.values[:288] * 1.609344).reshape(24, -1).mean(axis=1)
    assert np.corrcoef(mean_of_hour, recorded)[0, 1] > 0.95
    assert mean_of_hour.mean() == pytest.approx(recorded.mean(), rel=0.1)


def test_faults_come_in_the_shares_asked_for_and_do_what_they_say() -> None:
    city = replace(CITY, faults=ALL_FAULTS)
    columns = city.columns(0, 200_000)
    clean = replace(CITY).columns(0, 200_000)
    shares = {Fault.SPIKE: 0.01, Fault.SENTINEL: 0.01, Fault.CLOCK: 0.01, Fault.STUCK: 0.05, Fault.DROPOUT: 0.05}
    for kind, share in shares.items():
        assert (columns.fault == kind).mean() == pytest.approx(share, rel=0.25)
    value, true = columns.value[:, 0], clean.value[:, 0]
    assert (value[columns.fault == Fault.SENTINEL] == SENTINEL).all()
    assert (value[columns.fault == Fault.SPIKE] > true[columns.fault == Fault.SPIKE] + 59).all()
    none = columns.fault == Fault.NONE
    assert (value[none] == true[none]).all()
    moved = columns.t_ms[:, 0] - clean.t_ms[:, 0]
    assert set(moved[columns.fault == Fault.CLOCK]) == {7_200_000, -3_600_000}
    assert (moved[columns.fault != Fault.CLOCK] == 0).all()
    stuck = np.flatnonzero(columns.fault == Fault.STUCK)
    assert len(set(zip(columns.sensor[stuck], value[stuck], strict=True))) < len(stuck) / 20


def test_dropouts_swallow_whole_messages_and_the_rest_is_json() -> None:
    city = replace(CITY, faults=Faults(dropout=0.1), per_message=4)
    columns = city.columns(0, BLOCK)
    block = next(city.blocks())
    assert [message is None for message in block] == (columns.fault == Fault.DROPOUT).tolist()
    for i, message in enumerate(block):
        if message is not None:
            assert message[0] == b"cityfeed/v1/traffic/sim-%06d" % (columns.sensor[i] + 1)
            assert [(r["t"], r["speed"]) for r in orjson.loads(message[1])] == list(
                zip(columns.t_ms[i], columns.value[i], strict=True)
            )


def test_one_reading_is_one_object() -> None:
    message = next(CITY.blocks())[0]
    assert message is not None
    assert orjson.loads(message[1]).keys() == {"t", "speed"}
    air = replace(CITY, week=sample_week(PROFILES["air"]), profile=PROFILES["air"])
    message = next(air.blocks())[0]
    assert message is not None and message[0].startswith(b"cityfeed/v1/air-quality/")
    assert 0 < orjson.loads(message[1])["pm25"] < 60


def test_registrations_have_places_in_the_city_and_a_message_without_what_the_topic_says() -> None:
    info = CityInfo("x", "UTC", (-118.6, 33.9, -118.1, 34.3))
    made = list(CITY.registrations(info))
    assert len({(r.site.lon, r.site.lat) for r in made}) > 490
    assert all(-118.6 <= (r.site.lon or 0) <= -118.1 and 33.9 <= (r.site.lat or 0) <= 34.3 for r in made)
    topic, payload = meta_message("city", made[0])
    assert topic == b"city/v1/traffic/sim-000001/meta"
    assert orjson.loads(payload).keys() == {"site", "series", "demo"}


def test_what_is_asked_for_must_be_possible() -> None:
    with pytest.raises(CityfeedError, match="at least 31 sensors"):
        replace(CITY, sensors=10, rate=30_000)
    with pytest.raises(CityfeedError, match="positive"):
        replace(CITY, rate=0)
    assert Faults.parse("none") == Faults()
    assert Faults.parse("some").stuck == 0.002
    assert Faults.parse("spike=0.01, clock=0.5") == Faults(spike=0.01, clock=0.5)
    for text in ("spikes=0.1", "spike", "spike=2", "spike=x"):
        with pytest.raises(CityfeedError, match="spike=0"):
            Faults.parse(text)
