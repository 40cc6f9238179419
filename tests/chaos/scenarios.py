"""What goes wrong, in the order that a seed decides. `rounds` is how often."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.world import World


@dataclass(frozen=True)
class Scenario:
    """One kind of trouble: what it is, how often in the long form, and what does it."""

    about: str
    rounds: int
    cause: Callable[[World, int], None]


def kill(service: str) -> Callable[[World, int], None]:
    """SIGKILL at moments that the seed decides; every second kill of `windows` is in the middle of a flush."""

    def cause(world: World, rounds: int) -> None:
        for i in range(rounds):
            world.pause(0.5, 5.0)
            if service == "windows" and i % 2:
                world.until(lambda: world.stack.is_running("windows"), "windows runs")
                world.wait_for_flush("windows")
            world.kill(service)
        world.pause(1, 3)

    return cause


def stop_windows(world: World, rounds: int) -> None:
    """SIGSTOP in mid-flush until another process owns all partitions, then SIGCONT: it may write nothing."""
    world.want("windows-1")
    for _ in range(rounds):
        world.until(lambda: len(world.owners()) == 2, "two processes of windows share the partitions")
        world.pause(0.5, 3.0)
        backend = world.wait_for_flush("windows")
        world.say("SIGSTOP windows in the middle of a flush")
        world.stack.signal("windows", signal.SIGSTOP)
        world.until(
            lambda backend=backend: len(world.owners() - {backend}) == 1 == len(world.owners()), "one owner", 90
        )
        world.say("another process owns its partitions")
        world.pause(0.5, 3.0)
        world.say("SIGCONT windows")
        world.stack.signal("windows", signal.SIGCONT)


def _is_taken_from(world: World, backend: int) -> bool:
    owners = world.owners()
    return len(owners) == 1 and backend not in owners


def stop_clean(world: World, rounds: int) -> None:
    """SIGSTOP with records in flight until the other process goes on with its partitions, then SIGCONT."""
    world.want("clean-1")
    world.pause(6)
    for _ in range(rounds):
        world.until(lambda: world.stack.is_running("clean"), "clean runs")
        world.pause(0.1, 1.0)
        world.say("SIGSTOP clean with records in flight")
        world.stack.signal("clean", signal.SIGSTOP)
        world.pause(13)  # longer than Kafka's session timeout: the other one has all partitions now
        world.say("SIGCONT clean")
        world.stack.signal("clean", signal.SIGCONT)
        world.pause(3, 6)


def database_away(away_s: float, signal_number: signal.Signals | None) -> Callable[[World, int], None]:
    """PostgreSQL is ended, by a signal or in good order, for so long; the live feed must go on meanwhile."""

    def cause(world: World, rounds: int) -> None:
        for _ in range(rounds):
            world.pause(2, 5)
            world.say(f"PostgreSQL: {signal_number.name if signal_number else 'stopped'} for {away_s:g} s")
            world.servers.stop("postgres", signal_number)
            began = time.monotonic()
            slice_s = away_s / 4
            for i in range(4):
                world.pause(slice_s)
                heard = world.ear.between(began + i * slice_s, began + (i + 1) * slice_s)
                assert heard > 0, f"the live feed was silent {i * slice_s:g} s after the database was gone"
            world.say(f"the live feed gave {world.ear.between(began, time.monotonic()):,} readings meanwhile")
            world.servers.start("postgres")
        world.pause(2, 5)

    return cause


def kafka_restarts(signal_number: signal.Signals | None) -> Callable[[World, int], None]:
    """Kafka is ended, by a signal or in good order, and comes back with what it had."""

    def cause(world: World, rounds: int) -> None:
        for _ in range(rounds):
            world.pause(2, 5)
            world.say(f"Kafka: {signal_number.name if signal_number else 'stopped'}")
            world.servers.stop("kafka", signal_number)
            world.pause(1, 5)
            world.servers.start("kafka")
        world.pause(3, 7)

    return cause


def kafka_recreated(world: World, rounds: int) -> None:
    """Kafka comes back without anything; what was stored before stays, what comes after is stored."""
    for _ in range(rounds):
        world.pause(4, 8)
        world.drain()
        world.keep_logs()
        world.say("Kafka's volume is made anew")
        world.servers.stop("kafka")
        world.servers.forget_kafka()
        world.servers.start("kafka")
        world.load.go_on()
        world.pause(20)


def rebalance(role: str) -> Callable[[World, int], None]:
    """One process, three, one again, in mid-stream."""

    def cause(world: World, rounds: int) -> None:
        for _ in range(rounds):
            world.pause(2, 4)
            for running, name in enumerate((f"{role}-1", f"{role}-2"), 2):
                world.say(f"start {name}")
                world.want(name)
                if role == "windows":  # of `clean` the database does not know who has what
                    world.until(lambda n=running: len(world.owners()) == n, f"{running} processes share the partitions")
                world.pause(3, 8)
            for name in world.dice.sample([f"{role}-1", f"{role}-2"], 2):
                world.say(f"stop {name}")
                world.unwant(name)
                world.pause(2, 5)

    return cause


SCENARIOS: dict[str, Scenario] = {
    "kill-gateway": Scenario("the gateway is killed again and again", 10, kill("gateway")),
    "kill-clean": Scenario("clean is killed again and again", 10, kill("clean")),
    "kill-windows": Scenario("windows is killed again and again", 10, kill("windows")),
    "stop-windows": Scenario("windows sleeps in mid-flush, another takes over, it wakes up", 3, stop_windows),
    "stop-clean": Scenario("clean sleeps with records in flight, another takes over, it wakes up", 3, stop_clean),
    "database-stopped": Scenario("PostgreSQL is stopped for 60 s", 1, database_away(60, None)),
    "database-killed": Scenario("PostgreSQL is killed with -9", 3, database_away(4, signal.SIGKILL)),
    "kafka-restarted": Scenario("Kafka is restarted", 3, kafka_restarts(None)),
    "kafka-killed": Scenario("Kafka is killed with -9", 3, kafka_restarts(signal.SIGKILL)),
    "kafka-recreated": Scenario("Kafka's volume is recreated", 1, kafka_recreated),
    "rebalance-clean": Scenario("one process of clean, three, one", 2, rebalance("clean")),
    "rebalance-windows": Scenario("one process of windows, three, one", 2, rebalance("windows")),
}
"""Every scenario by the name that `make chaos SCENARIO=` takes."""
