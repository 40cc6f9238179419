"""When messages may be acknowledged."""

from ingest_gateway.flights import Flight, Ledger, Out

RECORD = Out("t", 0, None, b"")


def test_flights_leave_in_the_order_they_came() -> None:
    """
    flight   1      2      3
    Kafka    -      has    half     -> none may be acknowledged
             has    has    half     -> 1 and 2
                           has      -> 3
    """
    first, second, third = Flight([RECORD], [1]), Flight([RECORD], [2]), Flight([RECORD] * 2, [3])
    ledger = Ledger()
    for flight in (first, second, third):
        ledger.add(flight)
    second.pending.discard(0)
    third.pending.discard(1)
    assert ledger.settled() == []
    assert ledger.oldest is first
    first.pending.discard(0)
    assert ledger.settled() == [first, second]
    assert third.unsent() == [(0, RECORD)]
    third.pending.discard(0)
    assert ledger.settled() == [third]
    assert len(ledger) == 0
    assert ledger.oldest is None


def test_a_flight_without_records_waits_for_those_before_it() -> None:
    first, second = Flight([RECORD], [1]), Flight([], [2])
    ledger = Ledger()
    ledger.add(first)
    ledger.add(second)
    assert ledger.settled() == []
    first.pending.clear()
    assert ledger.settled() == [first, second]
