"""The stack, described: settings in; its parts, addresses and folders out. Pure.

Everything of one stack lies under its state folder and listens on its ports, so that several stacks
(`make run` and `make test`) live side by side.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from deploy.local.tools import Tools
from schemas.errors import CityfeedError
from schemas.settings import Settings, variable

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SERVERS = ("mosquitto", "kafka", "postgres")
SERVICES = ("gateway", "clean", "windows", "api", "archive", "outlet", "city")
# Ending a stack takes two such waits at most (services, then servers), and must take less than 10 s.
STOP_WAIT_S = 4

# Measured on this stack: 1.7 s to listen and 215 MB resident; the defaults took 2.4 s and twice the CPU.
KAFKA_JAVA_FLAGS = (
    "-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:MinHeapFreeRatio=20",
    "-XX:MaxHeapFreeRatio=40", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true",
)  # fmt: skip


class StackError(CityfeedError):
    """The stack cannot be run as asked. The message is one line that names the remedy."""


@dataclass(frozen=True)
class Address:
    """Where a part listens. `setting` is the variable that changes it."""

    host: str
    port: int
    setting: str

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Database:
    """The pieces of `database_url`."""

    address: Address
    user: str
    name: str


@dataclass(frozen=True)
class Layout:
    """The folders of a stack, absolute. `postgres` is apart: its user must be able to reach it."""

    state: Path
    postgres: Path

    @property
    def supervisor_conf(self) -> Path:
        return self.state / "supervisord.conf"

    @property
    def supervisor_socket(self) -> Path:
        return self.state / "supervisor.sock"

    @property
    def kafka(self) -> Path:
        return self.state / "kafka"

    @property
    def mosquitto(self) -> Path:
        return self.state / "mosquitto"

    @property
    def postgres_conf(self) -> Path:
        return self.postgres / "postgresql.conf"

    @property
    def city_ready(self) -> Path:
        """Written by the sample city's player when its backfill was acknowledged."""
        return self.state / "city-ready"

    @property
    def city_progress(self) -> Path:
        """`{"done": n, "total": m}`, written by the player while the backfill runs."""
        return self.state / "city-progress"

    def log(self, part: str) -> Path:
        return self.state / "log" / f"{part}.log"


@dataclass(frozen=True)
class Part:
    """A program of the stack. `metrics` is the address of its Prometheus page, where it has one."""

    name: str
    title: str
    kind: Literal["server", "service"]
    command: tuple[str, ...]
    address: Address | None = None
    metrics: Address | None = None
    user: str | None = None
    stop_signal: str = "TERM"


def mqtt_address(settings: Settings) -> Address:
    return Address(settings.mqtt_host, settings.mqtt_port, variable("mqtt_port"))


def public_addresses(settings: Settings) -> list[Address]:
    """The listener of the public topics' outlet, then those of their readers; none where it is switched off."""
    if not settings.mqtt_outlet_port:
        return []
    found = [Address(settings.mqtt_outlet_host, settings.mqtt_outlet_port, variable("mqtt_outlet_port"))]
    for name in ("mqtt_public_port", "mqtt_public_websocket_port"):
        if port := getattr(settings, name):
            found.append(Address(settings.mqtt_public_host, port, variable(name)))
    return found


def kafka_address(settings: Settings) -> Address:
    """The first bootstrap server. Raises `StackError` if it has no port."""
    host, _, port = settings.kafka_bootstrap.partition(",")[0].strip().rpartition(":")
    if not host or not port.isdecimal():
        raise StackError(f"{variable('kafka_bootstrap')}={settings.kafka_bootstrap}: it takes host:port")
    return Address(host, int(port), variable("kafka_bootstrap"))


def kafka_controller(settings: Settings) -> Address:
    address = kafka_address(settings)
    return Address(address.host, address.port + 1, address.setting)


def database(settings: Settings) -> Database:
    """Raises `StackError` for a URL that lacks host, user or database name."""
    url = urlsplit(str(settings.database_url))
    if not url.hostname or not url.username or not url.path.strip("/"):
        raise StackError(f"{variable('database_url')} takes postgresql://user@host:port/database")
    return Database(
        Address(url.hostname, url.port or 5432, variable("database_url")), url.username, url.path.strip("/")
    )


def api_address(settings: Settings) -> Address:
    return Address(settings.api_host, settings.api_port, variable("api_port"))


def api_metrics_addresses(settings: Settings) -> list[Address]:
    """Where each of several API processes shows its metrics; a single one does at its own address."""
    if settings.api_processes == 1 or not settings.api_metrics_port:
        return []
    first, setting = settings.api_metrics_port, variable("api_metrics_port")
    return [Address(settings.metrics_host, first + number, setting) for number in range(settings.api_processes)]


def metrics_address(settings: Settings, service: str) -> Address | None:
    """Where gateway, clean or windows shows its metrics; None if switched off."""
    name = f"{service}_metrics_port"
    port = getattr(settings, name)
    return Address("127.0.0.1", port, variable(name)) if port else None


def server_parts(settings: Settings, tools: Tools, layout: Layout, postgres_user: str | None) -> list[Part]:
    """Mosquitto, Kafka and PostgreSQL. Raises `StackError` where an address is not this machine's."""
    mqtt, kafka, base = mqtt_address(settings), kafka_address(settings), database(settings)
    hosts = {variable("mqtt_host"): mqtt.host, kafka.setting: kafka.host, base.address.setting: base.address.host}
    for setting, host in hosts.items():
        if host not in LOOPBACK:
            raise StackError(f"{setting} says {host}, but the local stack runs its servers on 127.0.0.1")
    java = (
        str(tools.java), *KAFKA_JAVA_FLAGS, f"-Dlog4j2.configurationFile={layout.kafka}/log4j2.properties",
        "-cp", f"{tools.kafka_jars}/*", "kafka.Kafka", f"{layout.kafka}/server.properties",
    )  # fmt: skip
    postgres = (
        str(tools.postgres_bin / "postgres"), "-D", str(layout.postgres / "data"),
        "-c", f"config_file={layout.postgres_conf}",
    )  # fmt: skip
    return [
        Part(
            "mosquitto",
            "Mosquitto",
            "server",
            (str(tools.mosquitto), "-c", f"{layout.mosquitto}/mosquitto.conf"),
            mqtt,
        ),
        Part("kafka", "Kafka", "server", java, kafka),
        # SIGINT is PostgreSQL's fast shutdown: sessions are ended, nothing is lost
        Part("postgres", "PostgreSQL", "server", postgres, base.address, user=postgres_user, stop_signal="INT"),
    ]


def service_parts(settings: Settings, tools: Tools) -> list[Part]:
    """Our own processes."""

    def service(name: str, title: str, module: str, *words: str, address: Address | None = None) -> Part:
        metrics = metrics_address(settings, name) if name in ("gateway", "clean", "windows") else address
        return Part(name, title, "service", (str(tools.python), "-m", module, *words), address, metrics)

    return [
        service("gateway", "gateway", "ingest_gateway"),
        service("clean", "processor clean", "stream_processors", "clean"),
        service("windows", "processor windows", "stream_processors", "windows"),
        service("api", "API", "api", address=api_address(settings)),
        *([service("outlet", "public MQTT", "deploy.public_mqtt")] if settings.mqtt_outlet_port else []),
        service("archive", "archive of closed days", "api.archive"),
        service("city", "sample city", "deploy.replay.player"),
    ]


def addresses(settings: Settings) -> dict[str, list[Address]]:
    """Every address that a part listens on, by the part's name."""
    metrics = {name: metrics_address(settings, name) for name in ("gateway", "clean", "windows")}
    return {
        "mosquitto": [mqtt_address(settings), *public_addresses(settings)],
        "kafka": [kafka_address(settings), kafka_controller(settings)],
        "postgres": [database(settings).address],
        **{name: [address] for name, address in metrics.items() if address is not None},
        "api": [api_address(settings), *api_metrics_addresses(settings)],
    }


def environment(settings: Settings) -> dict[str, str]:
    """The settings as the variables that `schemas.settings.load` reads back; defaults are left out."""
    given = {f.name: getattr(settings, f.name) for f in fields(settings)}
    return {variable(f.name): str(given[f.name]) for f in fields(settings) if given[f.name] != f.default}
