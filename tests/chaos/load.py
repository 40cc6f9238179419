"""What the sensors of a chaotic city send: late, twice, corrected, out of order, all of it decided by one seed."""

import heapq
import itertools
import json
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt

from schemas.settings import Settings

DATASET = "chaos"
STEP_S = 20
LATENESS_S = 120
SILENCE_S = 4
OBJECTS = 4  # in a message, each with three metrics

_DATASET = f"""id = "{DATASET}"
title = "Chaos"
description = "What the sensors of the chaos tests send"
licence = "CC0-1.0"
attribution = "cityfeed"
publisher = "cityfeed"
contact = "nobody@example.org"
category = "Test"
department = "Tests"
data_type = "measurements"
update_frequency = "PT20S"
lateness_s = {LATENESS_S}
silence_s = {SILENCE_S}

[privacy]
reviewed = "2026-01-01"
reviewer = "tests"
rule = "made up"

[metrics.speed]
unit = "km/h"
period_s = {STEP_S}
cadence_s = {STEP_S}

[metrics.volume]
unit = "{{veh}}"
period_s = {STEP_S}
cadence_s = {STEP_S}

[metrics.pm25]
unit = "ug/m3"
period_s = {STEP_S}
cadence_s = {STEP_S}
"""

Message = tuple[str, bytes]  # (sensor, payload)
SentReading = tuple[str, str, int, int, float]  # (sensor, metric, start, rev, value)


def write_city(folder: Path) -> None:
    """A city folder with the one dataset of this load, whose sensors count as silent soon."""
    (folder / "datasets").mkdir(parents=True)
    (folder / "datasets" / f"{DATASET}.toml").write_text(_DATASET)
    (folder / "city.toml").write_text('name = "Chaos"\ntime_zone = "UTC"\nbbox = [-1, -1, 1, 1]\nlanguages = ["en"]\n')


class Plan:
    """The messages of one seed, for ever. 5 % come late, some beyond the lateness; 5 % come twice, 1 % of the readings
    are corrected, a few conflict with what was sent, a few messages are no readings.
    """

    def __init__(self, seed: int, begin_ms: int, n_sensors: int) -> None:
        self._dice = random.Random(seed)
        self._begin_ms = begin_ms
        self._sensors = [f"s{i:02}" for i in range(n_sensors)]

    def messages(self) -> Iterator[Message]:
        """In the order of sending."""
        waiting: list[tuple[int, int, Message]] = []  # (due, number, message)
        numbers = itertools.count()
        for i, message in enumerate(self._in_order()):
            while waiting and waiting[0][0] <= i:
                yield heapq.heappop(waiting)[2]
            sensor, objects = message
            payload = (sensor, json.dumps(objects).encode())
            late = self._dice.random() < 0.05
            due = i + self._delay() if late else i
            for copy_due in (due, due + self._delay()) if self._dice.random() < 0.05 else (due,):
                heapq.heappush(waiting, (copy_due, next(numbers), payload))
            for again in self._amended(objects):
                heapq.heappush(waiting, (due + self._delay(), next(numbers), (sensor, json.dumps(again).encode())))
            if self._dice.random() < 0.002:
                heapq.heappush(waiting, (i, next(numbers), (sensor, b"no reading")))

    def _in_order(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        for step in itertools.count(0, OBJECTS):
            for sensor in self._sensors:
                yield sensor, [self._object(self._begin_ms + (step + k) * STEP_S * 1000) for k in range(OBJECTS)]

    def _object(self, start: int) -> dict[str, Any]:
        speed, pm25 = round(self._dice.uniform(5, 120), 1), round(self._dice.uniform(1, 80), 1)
        return {"t": start, "speed": speed, "volume": self._dice.randrange(40), "pm25": pm25}

    def _amended(self, objects: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Corrections, some of which come before an older one; and the same rev with another value."""
        for one in objects:
            chance = self._dice.random()
            if chance < 0.01:
                for rev in self._dice.choice(((2,), (2, 3), (3, 2))):
                    yield self._object(one["t"]) | {"rev": rev}
            elif chance < 0.012:
                yield self._object(one["t"])

    def _delay(self) -> int:
        return self._dice.randrange(1, self._dice.choice((40, 40, 400)) * len(self._sensors))


class Load(threading.Thread):
    """Publishes a plan's messages at a rate until it is told to end; knows what the broker acknowledged."""

    def __init__(self, settings: Settings, messages: Iterator[Message], rate_per_s: float) -> None:
        super().__init__(name="load", daemon=True)
        self._settings = settings
        self._messages = messages
        self._rate_per_s = rate_per_s
        self._ending = threading.Event()
        self._publishing = threading.Lock()  # held for a message, so that after `pause` none is under way
        self._going = threading.Event()
        self._going.set()
        self.sent: list[tuple[Message, mqtt.MQTTMessageInfo]] = []
        self.error: Exception | None = None

    def pause(self) -> None:
        """Send nothing for a while; returns when all is acknowledged."""
        with self._publishing:
            self._going.clear()
        self._wait_for_acknowledgements()

    def go_on(self) -> None:
        """After `pause`."""
        self._going.set()

    def end(self) -> None:
        """Send no more; returns when the broker has acknowledged everything."""
        self._ending.set()
        self._going.set()
        self.join(60)
        if self.error:
            raise self.error

    def readings(self) -> set[SentReading]:
        """Every reading that was sent."""
        found: set[SentReading] = set()
        for sensor, payload in {message for message, _ in self.sent}:
            if not payload.startswith((b"[", b"{")):
                continue
            said = json.loads(payload)
            for one in said if isinstance(said, list) else [said]:
                rest = {k: v for k, v in one.items() if k not in ("t", "rev")}
                found |= {(sensor, metric, one["t"], one.get("rev", 1), float(v)) for metric, v in rest.items()}
        return found

    def run(self) -> None:
        try:
            self._run()
        except Exception as e:
            self.error = e

    def _run(self) -> None:
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        client.max_inflight_messages_set(1000)
        client.connect(self._settings.mqtt_host, self._settings.mqtt_port)
        client.loop_start()
        due = time.monotonic()
        try:
            while not self._ending.is_set():
                self._going.wait()
                due = max(due + 1 / self._rate_per_s, time.monotonic() - 1)
                time.sleep(max(0.0, due - time.monotonic()))
                with self._publishing:
                    if not self._going.is_set():
                        continue
                    message = next(self._messages)
                    topic = f"{self._settings.mqtt_topic_prefix}/v1/{DATASET}/{message[0]}"
                    self.sent.append((message, client.publish(topic, message[1], qos=1)))
            self._wait_for_acknowledgements()
        finally:
            client.disconnect()
            client.loop_stop()

    def _wait_for_acknowledgements(self) -> None:
        for _, info in self.sent[-5000:]:
            info.wait_for_publish(60)
            assert info.is_published(), "the broker did not acknowledge within 60 s"
