"""The one table of settings: every `CITYFEED_...` variable with its default, unit and meaning.

`load(os.environ)` gives one frozen object; services pass it on and never read the environment again.
docs/settings.md is made from this table, and a test holds the two together.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from schemas.errors import SettingsError

PREFIX = "CITYFEED_"


class Secret(str):
    """A string that does not show itself in logs: `repr` is masked, `str` is the value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'" if self else "''"


def _setting(
    default: Any,
    help: str,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    metadata = {"help": help, "unit": unit, "low": low, "high": high, "choices": choices}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """All settings; the variable of `mqtt_port` is `CITYFEED_MQTT_PORT`."""

    # -- where things are -------------------------------------------------------------------------------
    city_dir: str = _setting("deploy/sample_city", "The city folder: city.toml, sensors.csv, sources.toml, datasets/.")
    state_dir: str = _setting(".cityfeed/run", "Where the local stack and the services keep their state and logs.")
    cache_dir: str = _setting(".cityfeed/cache", "Where set-up keeps what it downloads and builds.")
    log_level: str = _setting("INFO", "How much the services say.", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    metrics_host: str = _setting("127.0.0.1", "Address of the services' Prometheus metrics; the ports are below.")

    # -- MQTT -------------------------------------------------------------------------------------------
    mqtt_host: str = _setting("127.0.0.1", "Address of the MQTT broker.")
    mqtt_port: int = _setting(18830, "Port of the MQTT broker.", "port", 1, 65535)
    mqtt_version: str = _setting("3.1.1", "The protocol that the gateway speaks to the broker.", choices=("3.1.1", "5"))
    mqtt_username: str = _setting("", "The gateway's user at the broker; empty for none.")
    mqtt_password: Secret = _setting(Secret(""), "The gateway's password at the broker.")
    mqtt_client_id: str = _setting("cityfeed-gateway", "The gateway's client id; fixed, for its session persists.")
    mqtt_topic_prefix: str = _setting("cityfeed", "First level of cityfeed's own MQTT topics.")
    mqtt_max_queued_messages: int = _setting(
        1_000_000, "What Mosquitto keeps for a gateway that is away; more is dropped by the broker.", "messages", 1
    )
    mqtt_max_queued_bytes: int = _setting(512 * 1024 * 1024, "The same bound in bytes.", "bytes", 1)
    mqtt_max_packet_bytes: int = _setting(1024 * 1024, "The largest MQTT packet the broker takes.", "bytes", 1024)

    mqtt_public_host: str = _setting("127.0.0.1", "Address that the public, read-only MQTT listeners are on.")
    mqtt_public_port: int = _setting(
        18831, "Port of the public, read-only MQTT listener; 0 for none.", "port", 0, 65535
    )
    mqtt_public_websocket_port: int = _setting(18832, "Port of the same over websockets; 0 for none.", "port", 0, 65535)
    mqtt_outlet_host: str = _setting("127.0.0.1", "Where the outlet publishes the newest values: the broker.")
    mqtt_outlet_port: int = _setting(
        18833, "Port of the listener that may write the public topics, for the outlet alone; 0: no public MQTT.",
        "port", 0, 65535,
    )  # fmt: skip

    # -- Kafka ------------------------------------------------------------------------------------------
    kafka_bootstrap: str = _setting("127.0.0.1:19092", "Kafka's bootstrap servers, host:port separated by commas.")
    kafka_partitions: int = _setting(
        8, "Partitions of the data topics, chosen when they are made; more processes up to this number.", "", 1, 1024
    )
    kafka_replication: int = _setting(1, "Replication factor of the topics that the gateway makes.", "", 1, 9)
    kafka_topic_prefix: str = _setting("", "Put before every Kafka topic and group name.")
    kafka_retention_h: int = _setting(
        24 * 7, "How long readings stay in Kafka: the longest outage of the database that loses nothing.", "h", 1
    )

    # -- database ---------------------------------------------------------------------------------------
    database_url: Secret = _setting(
        Secret("postgresql://cityfeed@127.0.0.1:15432/cityfeed"), "PostgreSQL with TimescaleDB, as a URL."
    )
    database_schema: str = _setting("public", "The schema that holds cityfeed's tables.")

    # -- ingest_gateway ---------------------------------------------------------------------------------
    gateway_batch_ms: int = _setting(
        20,
        "How long the gateway gathers messages for one Kafka record. All that follows pays by the record: at 2,000"
        " messages/s on two processors 10 ms made readings later, not sooner.",
        "ms", 1, 10_000,
    )  # fmt: skip
    gateway_batch_readings: int = _setting(
        5_000, "A partition's batch is sent at this size even if its time is not up.", "readings", 1, 100_000
    )
    gateway_unacknowledged_messages: int = _setting(
        20_000,
        "Messages taken from the broker and not yet acknowledged by Kafka; at this bound the gateway "
        "stops reading its socket.",
        "messages",
        100,
    )
    gateway_tick_ms: int = _setting(
        1_000, "How often the gateway writes the time into each partition.", "ms", 50, 60_000
    )
    gateway_metrics_port: int = _setting(
        18101, "Port of the gateway's Prometheus metrics; 0 for none.", "port", 0, 65535
    )

    # -- stream_processors ------------------------------------------------------------------------------
    processor_instance: str = _setting(
        "0", "Name of this process among those of its role: another for each, and the same after a restart."
    )
    future_tolerance_s: int = _setting(300, "Readings further ahead of their receipt go to the dead letters.", "s", 0)
    duplicate_horizon_s: int = _setting(
        900, "How far back `clean` remembers what it has seen, to drop repeats; the database drops older ones.", "s", 0
    )
    windows_flush_ms: int = _setting(250, "How long `windows` gathers before it commits.", "ms", 10, 60_000)
    windows_flush_readings: int = _setting(
        50_000, "`windows` commits at this size even if its time is not up.", "readings", 1
    )
    outbox_rows: int = _setting(
        1_000_000, "While so many published rows wait for Kafka, `windows` stores nothing more.", "rows", 1
    )
    repair_quiet_s: int = _setting(5, "Hours and days are repaired when nothing came for them for so long.", "s", 0)
    repair_max_delay_s: int = _setting(60, "And at the latest after this.", "s", 0)
    clean_metrics_port: int = _setting(18102, "Port of `clean`'s Prometheus metrics; 0 for none.", "port", 0, 65535)
    windows_metrics_port: int = _setting(18103, "Port of `windows`'s Prometheus metrics; 0 for none.", "port", 0, 65535)

    # -- api --------------------------------------------------------------------------------------------
    api_host: str = _setting("127.0.0.1", "Address the API listens on.")
    api_port: int = _setting(8000, "Port the API listens on.", "port", 1, 65535)
    api_processes: int = _setting(
        1,
        "API processes on that port; each reads Kafka for itself, and has limits of connections of its own.",
        "",
        1,
        64,
    )
    api_metrics_port: int = _setting(
        18110,
        "With several API processes: port of the first one's Prometheus metrics, the next ones follow; 0 for none. "
        "A single one has them at /metrics.",
        "port",
        0,
        65535,
    )
    api_public_url: str = _setting("", "The API's address as the world sees it; empty: as asked.")
    page_limit_default: int = _setting(1_000, "Rows of a page where none is asked for.", "rows", 1)
    page_limit_max: int = _setting(10_000, "Most rows of a page.", "rows", 1)
    rate_limit_requests: int = _setting(
        60_000, "Requests that an address may make in a window; more are answered 429. 0: no limit.", "", 0
    )
    rate_limit_window_s: int = _setting(60, "The window of the limit.", "s", 1, 86_400)
    archive_url: str = _setting(
        "",
        "Where closed days are kept as files: a folder, or s3://bucket/path (docs/open-data.md says how); empty: in "
        "the state folder.",
    )
    archive_after_h: int = _setting(6, "A day is written to the archive so long after its end.", "h", 0)
    archive_every_s: int = _setting(600, "How often the archive looks for closed and changed days.", "s", 1)
    database_keep_days: int = _setting(
        0,
        "Readings of days that ended longer ago are moved from the database to the archive, from which history has "
        "them as before; 0: all stay. At least 3.",
        "days",
        0,
        36_500,
    )
    exports_at_once: int = _setting(
        4, "Exports that one API process writes at a time; more are asked to come again.", "", 1, 64
    )
    export_stall_s: int = _setting(
        60, "An export whose client takes nothing for so long is cut; it can go on later.", "s", 1
    )
    export_keep_days: int = _setting(30, "How long an export can be proven and resumed.", "days", 1)
    cursor_key: Secret = _setting(
        Secret(""), "Key that signs cursors, shared by all API processes; empty: made once in the state folder."
    )
    live_heartbeat_s: int = _setting(15, "How often a live connection gets a heartbeat.", "s", 1, 3600)
    live_hello_timeout_s: int = _setting(10, "A live connection that has not said hello by then is closed.", "s", 1)
    live_max_subscriptions: int = _setting(64, "Subscriptions of one live connection.", "", 1)
    live_max_message_bytes: int = _setting(4096, "Largest message a live client may send.", "bytes", 128)
    live_rate_per_s: float = _setting(5.0, "Messages a live client may send, on average.", "1/s", 0.1)
    live_rate_burst: int = _setting(100, "And in a burst.", "messages", 1)
    live_connections_per_address: int = _setting(20, "Live connections of one address; 0 for no limit.", "", 0)
    live_queue_frames: int = _setting(
        256, "Frames kept for a slow client in mode `all`; then it is closed (4208).", "frames", 1
    )
    live_queue_bytes: int = _setting(
        8 * 1024 * 1024, "Bytes that wait for a slow live client, over all it asked for; then 4208.", "bytes", 65_536
    )
    live_keys: str = _setting("", "File with keys, of live feed and requests (docs/live.md); empty: all are anonymous.")
    live_max_connections: int = _setting(20_000, "Live connections of one process; then 4100.", "", 1)
    live_ring_bytes: int = _setting(
        64 * 1024 * 1024, "Newest records kept in memory for live clients that come back.", "bytes", 0
    )
    live_drain_timeout_s: int = _setting(5, "A live client that reads nothing for so long is cut off.", "s", 1)


def variable(name: str) -> str:
    """The environment variable of a field: `mqtt_port` -> `CITYFEED_MQTT_PORT`."""
    return PREFIX + name.upper()


def load(environ: Mapping[str, str]) -> Settings:
    """Read the variables once.

    Raises `SettingsError`, with the variable and what it takes, for a value that can't be used and for
    a `CITYFEED_` variable that does not exist (a typing mistake would otherwise be silent);
    `CITYFEED_TEST_...` is left to the tests.
    """
    fields = {variable(f.name): f for f in dataclasses.fields(Settings)}
    unknown = sorted(
        key for key in environ if key.startswith(PREFIX) and key not in fields and not key.startswith(PREFIX + "TEST_")
    )
    if unknown:
        raise SettingsError(f"{unknown[0]} is not a setting; `cityfeed doctor` and docs/settings.md list them")
    types = get_type_hints(Settings)
    values = {
        f.name: _parse(key, environ[key], types[f.name], f.metadata) for key, f in fields.items() if key in environ
    }
    return Settings(**values)


def _parse(key: str, text: str, kind: type, meta: Mapping[str, Any]) -> Any:
    if kind in (str, Secret):
        if meta["choices"] and text not in meta["choices"]:
            raise SettingsError(f"{key}={text!r}: it takes {_in_words(meta['choices'])}")
        return kind(text)
    try:
        value = kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise SettingsError(f"{key}={text!r}: it takes {wanted}{_in_unit(meta)}") from None
    low, high = meta["low"], meta["high"]
    if not (-math.inf if low is None else low) <= value <= (math.inf if high is None else high):  # nan is neither
        bounds = f"at least {low}" if high is None else f"between {low} and {high}"
        raise SettingsError(f"{key}={text}: it must be {bounds}{_in_unit(meta)}")
    return value


def _in_words(choices: tuple[str, ...]) -> str:
    return f"{', '.join(choices[:-1])} or {choices[-1]}"


def _in_unit(meta: Mapping[str, Any]) -> str:
    return f" ({meta['unit']})" if meta["unit"] else ""


def as_markdown() -> str:
    """The table of docs/settings.md."""
    rows = ["| variable | default | unit | meaning |", "|---|---|---|---|"]
    for f in dataclasses.fields(Settings):
        default = f"`{f.default}`" if str(f.default) else "(empty)"
        takes = f" Takes {_in_words(f.metadata['choices'])}." if f.metadata["choices"] else ""
        rows.append(f"| `{variable(f.name)}` | {default} | {f.metadata['unit']} | {f.metadata['help']}{takes} |")
    return "\n".join(rows) + "\n"
