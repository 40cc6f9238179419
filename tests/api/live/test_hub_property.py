"""Random subscribe, publish, stall, drain, disconnect and resume against a model of what each client must have seen."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from api.live import catching, groups, hub
from api.live.groups import Member
from api.live.messages import Filter
from tests.api.live.feeding import T0, Feed, StallingLink, batch

SENSORS = "abc"
QUEUE = 4
Key = tuple[str, str, int]


@dataclass
class Client:
    link: StallingLink
    member: Member
    mode: str
    sensors: tuple[str, ...]
    snapshot: bool  # whether this connection is to begin with one
    expected: list[tuple[str, int, int]] = field(default_factory=list)  # mode all: every reading since it came
    newest: dict[str, tuple[int, int]] = field(default_factory=dict)  # mode latest: what it must end with
    before: list[Key] = field(default_factory=list)  # heard on the connections before this one

    def heard(self) -> list[Key]:
        kinds = ("data",) if self.mode == "all" else ("data", "snapshot")
        rows = [row for message in self.link.messages() if message["type"] in kinds for row in message["d"]]
        return self.before + [(row["sensor"], row["start"], row["rev"]) for row in rows]

    def cursor(self) -> str | None:
        """What it would come back with; None before its snapshot was whole."""
        messages = self.link.messages()
        if self.snapshot and not any(m.get("last") for m in messages):
            return None
        ch = self.link.messages("subscribed")[0]["ch"]
        found = [m["cursors"].get(str(ch)) if m["type"] == "hb" else m.get("cursor") for m in messages]
        return next((text for text in reversed(found) if text is not None), None)

    @property
    def is_there(self) -> bool:
        return self.link.closed is None and not self.member.gone


class HubMachine(RuleBasedStateMachine):
    @initialize(ring_bytes=st.sampled_from([1_500, 10_000_000]))
    def start(self, ring_bytes: int) -> None:
        self.feed = Feed(live_queue_frames=QUEUE, live_ring_bytes=ring_bytes)
        self.clients: list[Client] = []
        self.newest: dict[str, tuple[int, int]] = {}
        self.recovered = 0

    def everyone(self) -> list[Client]:
        return getattr(self, "clients", [])

    @rule(
        mode=st.sampled_from(["all", "latest"]),
        sensors=st.sampled_from([(), ("a",), ("a", "b")]),
        stalled=st.booleans(),
        snapshot=st.booleans(),
    )
    def subscribe(self, mode: str, sensors: tuple[str, ...], stalled: bool, snapshot: bool) -> None:
        link, member = self.feed.client(subscribe=False)
        link.writable = not stalled
        client = Client(link, member, mode, sensors, snapshot)
        self.feed.subscribe(member, mode=mode, tick_ms=250, snapshot=snapshot, filter=Filter(sensor=sensors))
        if mode == "latest" and snapshot:
            client.newest = {s: k for s, k in self.newest.items() if not sensors or s in sensors}
        self.clients.append(client)

    @rule(
        rows=st.lists(
            st.tuples(st.sampled_from(SENSORS), st.integers(0, 9), st.integers(1, 2)), min_size=0, max_size=7
        ),
        flush=st.booleans(),
        partition=st.integers(0, 1),
    )
    def publish(self, rows: list[tuple[str, int, int]], flush: bool, partition: int) -> None:
        made = batch(*((s, minute, 0.0) for s, minute, _ in rows), rev=[rev for *_, rev in rows])
        self.feed.publish(made, partition, flush=flush)
        for client in self.clients:
            client.expected += [r for r in rows if not client.sensors or r[0] in client.sensors]
        for sensor, minute, rev in rows:
            if (minute, rev) > self.newest.get(sensor, (-1, 0)):
                self.newest[sensor] = minute, rev
                for client in self.clients:
                    if not client.sensors or sensor in client.sensors:
                        client.newest[sensor] = minute, rev

    @rule()
    def tick(self) -> None:
        self.feed.hub.tick(250)

    @rule()
    def flush(self) -> None:
        self.feed.hub.flush()

    @rule()
    def heartbeat(self) -> None:
        self.feed.hub.heartbeat(T0, 0)

    @rule(which=st.integers(0, 9), frames=st.sampled_from([0, 1, 2, None]))
    def stall_or_drain(self, which: int, frames: int | None) -> None:
        """The client takes so many frames more (None: all), and then nothing."""
        if which < len(self.clients) and self.clients[which].is_there:
            client = self.clients[which]
            client.link.writable, client.link.room = frames != 0, frames or None
            if frames != 0:
                client.member.flush()

    @rule(which=st.integers(0, 9))
    def disconnect(self, which: int) -> None:
        if which < len(self.clients):
            self.feed.hub.disconnect(self.clients[which].member)

    @rule(which=st.integers(0, 9), stalled=st.booleans())
    def resume(self, which: int, stalled: bool) -> None:
        if which >= len(self.clients) or self.clients[which].is_there:
            return
        client = self.clients[which]
        self.feed.hub.disconnect(client.member)
        cursor = client.cursor()
        if cursor is None:
            self.clients.remove(client)
            return
        before = client.heard()
        client.link, client.member = self.feed.client(subscribe=False)
        client.link.writable = not stalled
        wanted: dict[str, Any] = {"mode": client.mode, "tick_ms": 250, "snapshot": False, "cursor": cursor}
        self.feed.subscribe(client.member, filter=Filter(sensor=client.sensors), **wanted)
        (subscribed,) = client.link.messages("subscribed")
        client.snapshot = not subscribed["recovered"]
        if subscribed["recovered"]:
            client.before = before
            self.recovered += 1
        else:
            assert subscribed["reason"] == "too_far" and subscribed["history"]
            client.before, client.expected = [], []
            client.newest = {s: k for s, k in self.newest.items() if not client.sensors or s in client.sensors}

    @invariant()
    def frames_of_a_client_follow_each_other(self) -> None:
        for client in self.everyone():
            base = client.link.messages("subscribed")[0]["seq"]
            for start, end in (m["seq"] for m in client.link.messages("data")):
                assert start == base + 1 and end >= start
                base = end

    @invariant()
    def all_is_the_published_sequence_and_latest_only_goes_forward(self) -> None:
        for client in self.everyone():
            if client.mode == "all":
                expected = [(s, _iso(minute), rev) for s, minute, rev in client.expected]
                heard = client.heard()
                assert heard == expected[: len(heard)]
            else:
                last: dict[str, tuple[str, int]] = {}
                for sensor, start, rev in client.heard():
                    assert (start, rev) >= last.get(sensor, ("", 0))
                    last[sensor] = start, rev

    @invariant()
    def who_waits_holds_little(self) -> None:
        for client in self.everyone():
            waiting = sum(channel._waiting_bytes for channel in client.member.channels.values())
            assert client.member.waiting_bytes == waiting >= 0

    def teardown(self) -> None:
        for client in self.everyone():
            if client.is_there:
                client.link.writable, client.link.room = True, None
                client.member.flush()
        if self.everyone():
            self.feed.hub.flush()
            self.feed.hub.tick(250)
        for client in self.everyone():
            if not client.is_there:
                continue
            if client.mode == "all":
                assert client.heard() == [(s, _iso(minute), rev) for s, minute, rev in client.expected]
            else:
                last = {s: (start, rev) for s, start, rev in client.heard()}
                for sensor, (minute, rev) in client.newest.items():
                    assert last.get(sensor) == (_iso(minute), rev), (client, client.link.messages())


def _iso(minute: int) -> Any:
    return f"2026-01-01T00:{minute:02}:00.000Z"


@pytest.fixture(autouse=True)
def small_frames(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Frames of three rows, snapshots in parts of two, so that cursors stand inside records."""
    monkeypatch.setattr(groups, "FRAME_ROWS", 3)
    monkeypatch.setattr(catching, "FRAME_ROWS", 3)
    monkeypatch.setattr(hub, "SNAPSHOT_ROWS", 2)
    yield


assert T0 == 1_767_225_600_000
TestHub = HubMachine.TestCase
TestHub.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)
