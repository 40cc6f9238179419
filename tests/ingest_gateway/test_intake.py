"""Messages in, flights out."""

from ingest_gateway.flights import Out
from ingest_gateway.intake import Intake, registration_record, tick_records
from ingest_gateway.routes import Routes
from schemas import dead_letters, registry, wire
from schemas.city import Source
from schemas.registry import Registration
from schemas.topics import partition_of
from tests.ingest_gateway.decoders.payloads import RECEIVED, T0, as_bytes

SOURCES = (Source("tele/+/SENSOR", "tasmota", "air-quality", "{1}", time="received"),)


def intake(batch_readings: int = 1000) -> Intake:
    return Intake(Routes("cityfeed", ["air-quality"], SOURCES, 4), registry.Registry({}), batch_readings, "x.")


def topic(sensor: str) -> str:
    return f"cityfeed/v1/air-quality/{sensor}"


def letters_of(records: list[Out]) -> list[dead_letters.DeadLetter]:
    return [dead_letters.decode(record.value) for record in records if record.topic == "x.dead-letters"]


def test_a_flight_has_one_record_a_partition_and_the_receipts_in_order() -> None:
    gathered = intake()
    assert gathered.flush() is None
    sensors = [f"s{i}" for i in range(20)]
    for i, sensor in enumerate(sensors):
        gathered.take(topic(sensor), as_bytes({"t": T0, "pm25": i}), 100 + i, False, RECEIVED + i)
    flight = gathered.flush(3.5)
    assert flight is not None
    assert flight.receipts == list(range(100, 120))
    assert (flight.messages, flight.made_s) == (20, 3.5)
    assert flight.payload_bytes == sum(len(as_bytes({"t": T0, "pm25": i})) for i in range(20))
    assert {record.topic for record in flight.records} == {"x.readings.raw"}
    assert len({record.partition for record in flight.records}) == len(flight.records)
    found = {}
    for record in flight.records:
        readings = wire.decode(record.value).readings
        for s, value in zip(readings.sensor, readings.value, strict=True):
            dataset, sensor = readings.sensors[s]
            found[sensor] = value
            assert partition_of(dataset, sensor, 4) == record.partition
    assert found == {sensor: float(i) for i, sensor in enumerate(sensors)}
    assert gathered.flush() is None


def test_quality_of_service_0_has_no_receipt() -> None:
    gathered = intake()
    gathered.take(topic("s1"), as_bytes({"t": T0, "pm25": 1}), None, False, RECEIVED)
    flight = gathered.flush()
    assert flight is not None
    assert (flight.receipts, flight.messages, len(flight.records)) == ([], 1, 1)


def test_a_full_partition_asks_for_a_flush() -> None:
    gathered = intake(batch_readings=3)
    gathered.take(topic("s1"), as_bytes([{"t": T0 + i, "pm25": 1} for i in range(2)]), 1, False, RECEIVED)
    assert not gathered.full
    gathered.take(topic("s1"), as_bytes({"t": T0, "no2": 1}), 2, False, RECEIVED)
    assert gathered.full
    gathered.flush()
    assert not gathered.full


def test_a_bad_message_is_in_the_same_flight_as_a_dead_letter() -> None:
    gathered = intake()
    gathered.take(topic("s1"), b"{", 7, False, RECEIVED)
    flight = gathered.flush()
    assert flight is not None
    assert flight.receipts == [7]
    (letter,) = letters_of(flight.records)
    assert letter == dead_letters.DeadLetter("mqtt", topic("s1"), RECEIVED, "not_json", letter.detail, b"{")
    assert gathered.rejects == {"not_json": 1}


def test_many_rejects_of_a_message_are_one_dead_letter_a_reason() -> None:
    """Or a message of 1 MB could become thousands of them."""
    gathered = intake()
    payload = as_bytes([{"pm25": 1}] * 500 + [{"t": T0, "pm25": "x"}] * 300 + [{"t": T0, "pm25": 1}])
    gathered.take(topic("s1"), payload, 7, False, RECEIVED)
    flight = gathered.flush()
    assert flight is not None
    first, second = letters_of(flight.records)
    assert (first.reason, first.row, second.reason, second.row) == ("t_missing", 0, "value_type", 500)
    assert first.detail.endswith("(and 499 more in this message)")
    assert gathered.rejects == {"t_missing": 500, "value_type": 300}
    assert gathered.readings == 1


def test_a_message_of_no_value_is_acknowledged_without_a_record() -> None:
    gathered = intake()
    gathered.take(topic("s1"), as_bytes({"t": T0, "pm25": None}), 7, False, RECEIVED)
    flight = gathered.flush()
    assert flight is not None
    assert (flight.records, flight.receipts) == ([], [7])


def test_unknown_topics_go_to_the_dead_letters() -> None:
    gathered = intake()
    gathered.take("nobody/knows", b"\xff", 7, False, RECEIVED)
    flight = gathered.flush()
    assert flight is not None
    assert [(letter.reason, letter.payload) for letter in letters_of(flight.records)] == [("topic_unknown", b"\xff")]


def test_registrations_go_to_their_topic() -> None:
    gathered = intake()
    gathered.take(topic("s1") + "/meta", as_bytes({"site": {"name": "here"}}), 7, True, RECEIVED)
    gathered.take(topic("s1") + "/meta", b"", 8, False, RECEIVED)  # the retained message was cleared
    gathered.take(topic("s1") + "/meta", b"[]", 9, True, RECEIVED)
    flight = gathered.flush()
    assert flight is not None
    record, letter = flight.records
    assert (record.topic, record.partition, record.key) == ("x.sensors", 0, b"air-quality/s1@")
    assert registry.decode(record.value).site.name == "here"
    assert dead_letters.decode(letter.value).reason == "registration"
    assert flight.receipts == [7, 8, 9]


def test_retained_readings_count_unless_only_their_receipt_is_known() -> None:
    """A retained message comes again at each subscription; with the receive time it would be a new reading."""
    gathered = intake()
    gathered.take(topic("s1"), as_bytes({"t": T0, "pm25": 1}), 1, True, RECEIVED)
    gathered.take("tele/plug/SENSOR", as_bytes({"SI7021": {"Temperature": 21}}), 2, True, RECEIVED)
    assert gathered.readings == 1
    gathered.take("tele/plug/SENSOR", as_bytes({"SI7021": {"Temperature": 21}}), 3, False, RECEIVED)
    assert gathered.readings == 2


def test_ticks_and_registrations_as_records() -> None:
    ticks = tick_records(T0, 3, "x.")
    assert [(t.topic, t.partition) for t in ticks] == [("x.readings.raw", p) for p in range(3)]
    assert {wire.decode(t.value).tick for t in ticks} == {T0}
    assert registration_record(Registration("traffic", "s", 5)).key == b"traffic/s@5"
