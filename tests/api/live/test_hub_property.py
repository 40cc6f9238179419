"""Random subscribe, publish, stall, drain and disconnect against a model of what each client must have seen."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from api.live.groups import Member
from api.live.messages import Filter
from tests.api.live.feeding import T0, Feed, StallingLink, batch

SENSORS = "abc"
QUEUE = 4


@dataclass
class Client:
    link: StallingLink
    member: Member
    mode: str
    sensors: tuple[str, ...]
    expected: list[tuple[str, int, int]] = field(default_factory=list)  # mode all: every reading since it came
    newest: dict[str, tuple[int, int]] = field(default_factory=dict)  # mode latest: what it must end with

    def heard(self, kinds: tuple[str, ...] = ("data",)) -> list[tuple[str, int, int]]:
        return [
            (row["sensor"], row["start"], row["rev"])
            for message in self.link.messages()
            if message["type"] in kinds
            for row in message["d"]
        ]


class HubMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.feed = Feed(live_queue_frames=QUEUE)
        self.clients: list[Client] = []
        self.newest: dict[str, tuple[int, int]] = {}
        self.seen: set[tuple[str, int, int]] = set()

    @rule(
        mode=st.sampled_from(["all", "latest"]),
        sensors=st.sampled_from([(), ("a",), ("a", "b")]),
        stalled=st.booleans(),
        snapshot=st.booleans(),
    )
    def subscribe(self, mode: str, sensors: tuple[str, ...], stalled: bool, snapshot: bool) -> None:
        link, member = self.feed.client(subscribe=False)
        link.writable = not stalled
        client = Client(link, member, mode, sensors)
        wanted: dict[str, Any] = {"mode": mode, "tick_ms": 250, "snapshot": snapshot, "filter": Filter(sensor=sensors)}
        self.feed.subscribe(member, **wanted)
        if mode == "latest" and snapshot:
            client.newest = {s: k for s, k in self.newest.items() if not sensors or s in sensors}
        self.clients.append(client)

    @rule(
        rows=st.lists(st.tuples(st.sampled_from(SENSORS), st.integers(0, 9), st.integers(1, 2)), min_size=0, max_size=4)
    )
    def publish(self, rows: list[tuple[str, int, int]]) -> None:
        self.feed.publish(batch(*((s, minute, 0.0) for s, minute, _ in rows), rev=[rev for *_, rev in rows]))
        for client in self.clients:
            mine = [r for r in rows if not client.sensors or r[0] in client.sensors]
            client.expected += mine
        for sensor, minute, rev in rows:
            if (minute, rev) > self.newest.get(sensor, (-1, 0)):
                self.newest[sensor] = minute, rev
                for client in self.clients:
                    if not client.sensors or sensor in client.sensors:
                        client.newest[sensor] = minute, rev

    @rule()
    def tick(self) -> None:
        self.feed.hub.tick(250)

    @rule(which=st.integers(0, 9), writable=st.booleans())
    def stall_or_drain(self, which: int, writable: bool) -> None:
        if which < len(self.clients):
            client = self.clients[which]
            client.link.writable = writable
            if writable:
                client.member.flush()

    @rule(which=st.integers(0, 9))
    def disconnect(self, which: int) -> None:
        if which < len(self.clients):
            client = self.clients.pop(which)
            self.feed.hub.disconnect(client.member)

    @invariant()
    def frames_of_a_client_follow_each_other(self) -> None:
        for client in getattr(self, "clients", []):
            seqs = [m["seq"] for m in client.link.messages("data")]
            base = client.link.messages("subscribed")[0]["seq"]
            for start, end in seqs:
                assert start == base + 1 and end >= start
                base = end

    @invariant()
    def all_is_the_published_sequence_and_latest_only_goes_forward(self) -> None:
        for client in getattr(self, "clients", []):
            if client.mode == "all":
                heard = client.heard()
                expected = [(s, _iso(minute), rev) for s, minute, rev in client.expected]
                assert heard == expected[: len(heard)]
                if client.link.writable and client.link.closed is None:
                    assert heard == expected
            else:
                last: dict[str, tuple[str, int]] = {}
                for sensor, start, rev in client.heard(("snapshot", "data")):
                    assert (start, rev) >= last.get(sensor, ("", 0))
                    last[sensor] = start, rev

    def teardown(self) -> None:
        if not hasattr(self, "feed"):
            return
        for client in self.clients:
            client.link.writable = True
            client.member.flush()
        self.feed.hub.tick(250)
        for client in self.clients:
            if client.mode == "latest":
                last = {s: (start, rev) for s, start, rev in client.heard(("snapshot", "data"))}
                for sensor, (minute, rev) in client.newest.items():
                    assert last[sensor] == (_iso(minute), rev)


def _iso(minute: int) -> Any:
    return f"2026-01-01T00:{minute:02}:00.000Z"


assert T0 == 1_767_225_600_000
TestHub = HubMachine.TestCase
TestHub.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
