"""The ring: what it has, how far it reaches back, and its bound."""

from api.live.ring import ENTRY_BYTES, Ring


def numbers(ring: Ring, at: dict[str, dict[int, int]]) -> list[tuple[str, int, int]]:
    return [(entry.source, entry.partition, entry.number) for entry in ring.since(at)]


def test_what_came_after_a_cursor_in_the_order_it_came() -> None:
    ring = Ring(10_000)
    for source, partition, number in (("r", 0, 0), ("r", 1, 0), ("r", 0, 1), ("w", 0, 7), ("r", 1, 3)):
        ring.add(source, partition, number, b"x")
    assert numbers(ring, {"r": {0: 0}}) == [("r", 1, 0), ("r", 0, 1), ("r", 1, 3)]
    assert numbers(ring, {"r": {0: 1, 1: 2}, "w": {0: 6}}) == [("w", 0, 7), ("r", 1, 3)]
    assert numbers(ring, {"r": {0: 1, 1: 3}}) == []


def test_the_oldest_goes_when_it_is_full_and_the_ring_says_so() -> None:
    ring = Ring(3 * (ENTRY_BYTES + 10))
    for number in range(5000):
        ring.add("r", number % 2, number // 2, b"0123456789")
    assert ring.bytes <= 3 * (ENTRY_BYTES + 10)
    assert ring.floors("r") == {0: 2498, 1: 2497}
    assert ring.covers({"r": {0: 2498, 1: 2497}}) and not ring.covers({"r": {0: 2497, 1: 2499}})
    assert not ring.covers({"r": {0: 2498}}) and ring.covers({"w": {}})
    assert [n for _, _, n in numbers(ring, {"r": {0: 2498, 1: 2497}})] == [2498, 2499, 2499]


def test_a_log_that_begins_anew_forgets_what_it_had() -> None:
    ring = Ring(10_000)
    ring.begin("r", 0, 41)
    assert not ring.covers({"r": {0: 40}}) and ring.covers({"r": {0: 41}})
    ring.add("r", 0, 42, b"x")
    ring.add("r", 1, 1, b"x")
    ring.begin("r", 0, 1 << 44)
    assert numbers(ring, {"r": {}}) == [("r", 1, 1)] and ring.bytes == ENTRY_BYTES + 1
    ring.add("r", 0, (1 << 44) + 1, b"x")
    assert numbers(ring, {"r": {0: 1 << 44, 1: 1}}) == [("r", 0, (1 << 44) + 1)]
