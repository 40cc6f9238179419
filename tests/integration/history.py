"""A history of known rows in a real database, and what pages of it must be, worked out the straightforward way."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg

from api.times import as_datetime
from schemas import registry
from schemas.registry import Registration

DAY_MS = 86_400_000
DAY_0_MS = 1_794_700_800_000  # 2026-11-15T00:00:00Z
PARTS = 4
READINGS = "series, start, period_s, value, flag, tests, rev, origin, received, part, position"
WINDOWS = (
    "series, width_s, start, n, n_expected, coverage, mean, min, max, std, p50, p95, first, last, total, m2, weighted,"
    " weight, complete, rev, published, part, out_seq, gone"
)


@dataclass(frozen=True)
class Reading:
    """A row of `readings`, with the names of its series."""

    dataset: str
    sensor: str
    metric: str
    start: int
    period_s: int = 300
    value: float = 1.0
    flag: int = 1
    tests: int = 0
    rev: int = 1
    origin: int = 0
    received: int = 0
    part: int = 0
    position: int = 0


@dataclass
class History:
    """Writes rows as `windows` does: positions grow, and move in the transaction of the rows."""

    connection: psycopg.Connection[Any]
    next_offset: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(PARTS), 0))
    stored: dict[tuple[str, str, str, int], Reading] = field(default_factory=dict)

    def part(self, sensor: str) -> int:
        """A sensor's partition."""
        return sum(sensor.encode()) % PARTS

    def series(self, dataset: str, sensor: str, metric: str) -> int:
        """The series' key; made where there is none."""
        names = (dataset, sensor, metric)
        self.connection.execute(
            "INSERT INTO series (dataset, sensor, metric) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", names
        )
        (key,) = self.connection.execute(
            "SELECT id FROM series WHERE (dataset, sensor, metric) = (%s, %s, %s)", names
        ).fetchone() or (0,)
        return int(key)

    def store(self, readings: Iterable[Reading]) -> None:
        """Store readings as one flush; one whose key is stored takes its place, the old one goes to the history."""
        with self.connection.transaction():
            rows = []
            for reading in readings:
                part = self.part(reading.sensor)
                reading = replace(reading, part=part, position=self.next_offset[part])
                key = (reading.dataset, reading.sensor, reading.metric, reading.start)
                if key in self.stored:
                    self._retire(reading)
                self.stored[key] = reading
                rows.append(reading)
            ids = {r: self.series(*r) for r in dict.fromkeys((r.dataset, r.sensor, r.metric) for r in rows)}
            with self.connection.cursor() as cursor, cursor.copy(f"COPY readings ({READINGS}) FROM STDIN") as copy:
                for r in rows:
                    copy.write_row((
                        ids[r.dataset, r.sensor, r.metric], as_datetime(r.start), r.period_s, r.value, r.flag, r.tests,
                        r.rev, r.origin, as_datetime(r.received), r.part, r.position,
                    ))  # fmt: skip
            for part in {r.part for r in rows}:
                self.next_offset[part] += 1
            self._move_positions()

    def _retire(self, reading: Reading) -> None:
        key = (self.series(reading.dataset, reading.sensor, reading.metric), as_datetime(reading.start))
        self.connection.execute(
            (
                "WITH old AS (DELETE FROM readings WHERE (series, start) = (%s, %s) RETURNING *)"
                f" INSERT INTO readings_history ({READINGS}, known_to) SELECT {READINGS}, now() FROM old"
            ).encode(),
            key,
        )

    def _move_positions(self) -> None:
        with self.connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO positions (part, next_offset, out_seq) VALUES (%s, %s, %s)"
                " ON CONFLICT (part) DO UPDATE SET next_offset = excluded.next_offset, out_seq = excluded.out_seq",
                [(part, offset, offset - 1) for part, offset in self.next_offset.items()],
            )

    def publish(self, windows: Iterable[dict[str, Any]]) -> None:
        """Store windows (columns by name, and dataset, sensor, metric) as one flush; they replace those there are."""
        with self.connection.transaction():
            for window in windows:
                part = self.part(window["sensor"])
                names = [window[name] for name in ("dataset", "sensor", "metric")]
                row = {k: v for k, v in window.items() if k not in ("dataset", "sensor", "metric")}
                row |= {"series": self.series(*names), "part": part, "out_seq": self.next_offset[part]}
                self.connection.execute(
                    (
                        "WITH old AS (DELETE FROM windows WHERE (series, width_s, start) ="
                        " (%(series)s, %(width_s)s, %(start)s) RETURNING *)"
                        f" INSERT INTO windows_history ({WINDOWS}, known_to) SELECT {WINDOWS}, now() FROM old"
                    ).encode(),
                    row,
                )
                columns = ", ".join(row)
                values = ", ".join(f"%({name})s" for name in row)
                self.connection.execute(f"INSERT INTO windows ({columns}) VALUES ({values})".encode(), row)
            for part in self.next_offset:
                self.next_offset[part] += 1
            self._move_positions()

    def register(self, registrations: Sequence[Registration]) -> None:
        """Store registrations."""
        for r in registrations:
            since = "-infinity" if r.valid_from is None else as_datetime(r.valid_from).isoformat()
            until = "infinity" if r.valid_to is None else as_datetime(r.valid_to).isoformat()
            self.connection.execute(
                "INSERT INTO registrations VALUES (%s, %s, %s, %s, %s, %s, %s)",
                (r.dataset, r.sensor, since, until, r.site.lon, r.site.lat, registry.encode(r).decode()),
            )

    def ordered(self) -> list[Reading]:
        """All that is stored, in the order of the API: UTC day, series, start."""
        keys = {names: self.series(*names) for names in {(r.dataset, r.sensor, r.metric) for r in self.stored.values()}}
        return sorted(
            self.stored.values(),
            key=lambda r: (r.start // DAY_MS, keys[r.dataset, r.sensor, r.metric], r.start),
        )


def three_days(seed: int) -> list[Reading]:
    """Readings of two datasets over three days, shuffled, with gaps, every flag, both origins, and a day without."""
    dice = random.Random(seed)
    found = [
        Reading(
            dataset, sensor, metric, start, period_s, round(dice.uniform(-5, 100), 2),
            dice.choice((1, 1, 1, 1, 2, 3, 4)), dice.choice((0, 0, 2)), 1, dice.choice((0, 0, 1)), start + 301_500,
        )
        for dataset, period_s, sensors in (("traffic", 300, ("b", "a", "c")), ("air-quality", 60, ("a", "z")))
        for sensor in sensors
        for metric in (("speed", "volume") if dataset == "traffic" else ("pm25",))
        for day in (0, 1, 3)
        for start in range(DAY_0_MS + day * DAY_MS, DAY_0_MS + (day + 1) * DAY_MS, 1_800_000)
        if dice.random() > 0.2
    ]  # fmt: skip
    dice.shuffle(found)
    return found
