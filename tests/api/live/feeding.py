"""A hub, links that can stall, and readings, for the tests of this folder."""

import json
from typing import Any

from api.cursor import Cursors
from api.live.filters import wish_of
from api.live.frames import payload_of
from api.live.groups import Member
from api.live.hub import Hub
from api.live.latest import Latest
from api.live.messages import Filter, Subscribe
from schemas.datasets import parse_datasets, shipped_files
from schemas.readings import Readings, readings
from schemas.registry import Registration, Registry, Site, fold
from schemas.settings import Settings
from schemas.wire import Record, encode

T0 = 1_767_225_600_000  # 2026-01-01T00:00:00Z
DATASETS = parse_datasets(shipped_files())


CURSORS = Cursors(b"key")


class StallingLink:
    """A client's transport that takes what it is given until it is told to stall."""

    dialect = "ws"

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.writes: list[bytes] = []
        self.closed: tuple[int, str] | None = None
        self.aborted = False
        self.member: Member | None = None
        self.room: int | None = None  # frames that it takes before it stalls
        self._writable = True

    @property
    def writable(self) -> bool:
        return self._writable

    @writable.setter
    def writable(self, value: bool) -> None:
        self._writable = value
        if not value and self.member is not None:
            self.member.pause()

    def write(self, data: bytes) -> None:
        if self.closed is None and not self.aborted:
            self.writes.append(data)
            frames = split(data)
            self.frames += frames
            if self.room is not None:
                self.room -= len(frames)
                if self.room <= 0:
                    self.room, self.writable = None, False

    def close(self, code: int, reason: str) -> None:
        self.closed = code, reason
        self._writable = False

    def abort(self) -> None:
        self.aborted = True

    def messages(self, kind: str | None = None) -> list[dict[str, Any]]:
        found = [json.loads(payload_of(frame)) for frame in self.frames]
        return [m for m in found if kind is None or m["type"] == kind]

    def rows(self) -> list[dict[str, Any]]:
        return [row for message in self.messages() for row in message.get("d", ())]


def split(data: bytes) -> list[bytes]:
    """The frames that were written in one piece."""
    found = []
    while data:
        n, head = data[1], 2
        if n >= 126:
            head = 4 if n == 126 else 10
            n = int.from_bytes(data[2:head], "big")
        found.append(data[: head + n])
        data = data[head + n :]
    return found


class Feed:
    """Latest values and a hub, fed like the tail feeds them."""

    def __init__(self, registrations: tuple[Registration, ...] = (), **settings: Any) -> None:
        self.registry: Registry = fold(DATASETS, registrations)
        self.latest = Latest()
        self.hub = Hub(Settings(**settings), self.registry, self.latest, CURSORS)
        self.hub.log_ms = T0
        for partition in range(2):
            self.hub.ring.begin("readings", partition, -1)
        for source in ("amended", "windows", "index"):
            self.hub.ring.begin(source, 0, 0)
            self.hub.moved(source, 0, 0)
        self.offset = 0

    def publish(self, batch: Readings, partition: int = 0, flush: bool = True) -> None:
        record = Record("clean", batch)
        series = self.latest.apply(record, partition, self.offset)
        self.hub.publish(self.hub.readings.batch(batch, series, partition, self.offset), encode(record))
        self.offset += 1
        if flush:
            self.hub.flush()

    def client(self, *, subscribe: bool = True, **wanted: Any) -> tuple[StallingLink, Member]:
        link = StallingLink()
        member = link.member = self.hub.connect(link)
        if subscribe:
            self.subscribe(member, **wanted)
        return link, member

    def subscribe(self, member: Member, id: str | int = "s", filter: Filter | None = None, **wanted: Any) -> None:
        message = Subscribe(id, wanted.pop("topic", "readings"), filter or Filter(), **wanted)
        self.hub.subscribe(member, message, wish_of(message, self.registry.datasets))


def placed(dataset: str, sensor: str, lon: float, lat: float, **more: Any) -> Registration:
    return Registration(dataset, sensor, site=Site(lon=lon, lat=lat), **more)


def batch(*rows: tuple[str, int, float], metric: str = "speed", dataset: str = "traffic", **columns: Any) -> Readings:
    """Readings of (sensor, minutes after T0, value)."""
    names = list(dict.fromkeys(sensor for sensor, _, _ in rows))
    return readings(
        [(dataset, name) for name in names],
        [(metric, "km/h" if metric == "speed" else "ug/m3")],
        sensor=[names.index(sensor) for sensor, _, _ in rows],
        start=[T0 + 60_000 * minute for _, minute, _ in rows],
        value=[value for _, _, value in rows],
        **({"received": T0 + 3_600_000, "period_s": 300, "flag": 1} | columns),
    )
