"""The configuration files of the stack's parts, as text. Pure."""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from deploy.local.stack import (
    STOP_WAIT_S,
    Address,
    Layout,
    Part,
    database,
    kafka_address,
    kafka_controller,
    mqtt_address,
    public_addresses,
)
from deploy.local.tools import ROOT, Tools
from schemas.settings import Settings
from schemas.topics import mqtt_public_filters

PUBLIC_CONNECTIONS = 1_000
"""Readers of each public listener; more are refused."""


def mosquitto_conf(settings: Settings, layout: Layout, user: str | None) -> str:
    """Saves its sessions and queues every second; keeps a stated, finite queue for a gateway that is away.

    A listener for sensors and services, two that only let the public topics be read (nothing is queued there for who
    is away: QoS 0), and one that only the outlet is to reach, on which they can be written.
    """
    as_user = f"user {user}\n" if user else ""
    listeners = [_listener(mqtt_address(settings), layout, "sensors")]
    if public := public_addresses(settings):
        outlet, *readers = public
        listeners.append(_listener(outlet, layout, "outlet"))
        limits = f"max_qos 0\nmax_connections {PUBLIC_CONNECTIONS}\n"
        for address in readers:
            websocket = "protocol websockets\n" if address.setting.endswith("WEBSOCKET_PORT") else ""
            listeners.append(_listener(address, layout, "public") + websocket + limits)
    return f"""{as_user}per_listener_settings true
set_tcp_nodelay true
persistence true
persistence_location {layout.mosquitto}/
autosave_interval 1
autosave_on_changes false
max_inflight_messages 0
max_queued_messages {settings.mqtt_max_queued_messages}
max_queued_bytes {settings.mqtt_max_queued_bytes}
max_packet_size {settings.mqtt_max_packet_bytes}
sys_interval 10
log_dest stderr
log_type error
log_type warning
log_type notice
log_timestamp_format %Y-%m-%dT%H:%M:%S
{"".join(listeners)}"""


def _listener(address: Address, layout: Layout, acl: str) -> str:
    return f"listener {address.port} {address.host}\nallow_anonymous true\nacl_file {layout.mosquitto}/{acl}.acl\n"


def mosquitto_acls(settings: Settings) -> dict[str, str]:
    """Who may do what, by listener. `topic` lines are for clients without a user name, `pattern` lines for all."""
    public = mqtt_public_filters(settings.mqtt_topic_prefix)
    rules = {
        "sensors": (*(f"deny {topics}" for topics in public), "readwrite #", "read $SYS/#"),
        "public": tuple(f"read {topics}" for topics in public),
        "outlet": tuple(f"readwrite {topics}" for topics in public),
    }
    return {
        name: "".join(f"{kind} {rule}\n" for kind in ("topic", "pattern") for rule in lines)
        for name, lines in rules.items()
    }


def kafka_properties(settings: Settings, layout: Layout) -> str:
    """One broker that is its own controller; internal topics sized for one machine.

    After a SIGKILL the controller takes the broker for alive until its session ends, and refuses the new one:
    the default of 9 s was seen as 9 s more to start.
    """
    broker, controller = kafka_address(settings), kafka_controller(settings)
    return f"""process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers={controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{broker},CONTROLLER://{controller}
log.dirs={layout.kafka}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
broker.session.timeout.ms=5000
broker.heartbeat.interval.ms=1000
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.segment.bytes=134217728
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
background.threads=2
"""


KAFKA_LOG4J2 = """status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX} %p %c{1}: %m%n
rootLogger.level = INFO
rootLogger.appenderRefs = out
rootLogger.appenderRef.out.ref = out
# the whole configuration at every start, and at every topic made
logger.values.name = org.apache.kafka.common.config.AbstractConfig
logger.values.level = WARN
"""


def postgres_conf(settings: Settings, layout: Layout) -> str:
    """Tuned for steady ingest on a small machine; a commit is on the disk when it is acknowledged."""
    base = database(settings)
    return f"""listen_addresses = '{base.address.host}'
port = {base.address.port}
unix_socket_directories = ''
hba_file = '{layout.postgres}/pg_hba.conf'
ident_file = '{layout.postgres}/pg_ident.conf'
shared_preload_libraries = 'timescaledb'
timescaledb.telemetry_level = off
timescaledb.max_background_workers = 4
max_worker_processes = 12
max_connections = 100
max_locks_per_transaction = 256
shared_buffers = 256MB
work_mem = 16MB
maintenance_work_mem = 128MB
effective_cache_size = 1GB
synchronous_commit = on
wal_compression = on
max_wal_size = 4GB
checkpoint_timeout = 15min
wal_level = replica
max_wal_senders = 0
random_page_cost = 1.1
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_destination = 'stderr'
log_line_prefix = '%m [%p] '
log_min_duration_statement = 1s
"""


def postgres_hba(settings: Settings) -> str:
    """Whoever is on this machine may connect, to this database, as this user; nobody else."""
    base = database(settings)
    return f"host {base.name} {base.user} 127.0.0.1/32 trust\nhost {base.name} {base.user} ::1/128 trust\n"


def supervisord_conf(parts: Iterable[Part], tools: Tools, layout: Layout, *, as_root: bool, max_files: int) -> str:
    """Restarts what ends, waiting a second longer each time; each part has its log, kept to 3 x 10 MB."""
    sections: list[tuple[str, Mapping[str, object]]] = [
        ("unix_http_server", {"file": layout.supervisor_socket, "chmod": "0700"}),
        ("rpcinterface:supervisor",
         {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"}),
        ("supervisord", {
            "nodaemon": "true", "silent": "true", "pidfile": layout.state / "supervisord.pid",
            "logfile": layout.log("supervisord"), "logfile_maxbytes": "1MB", "logfile_backups": "1",
            "childlogdir": layout.state / "log", "minfds": max_files, **({"user": "root"} if as_root else {}),
        }),
        *((f"program:{part.name}", _program(part, tools, layout)) for part in parts),
    ]  # fmt: skip
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {str(value).replace('%', '%%')}\n" for key, value in values.items())
        for name, values in sections
    )


def _program(part: Part, tools: Tools, layout: Layout) -> Mapping[str, object]:
    # a part is told to end when its supervisord is gone, even by SIGKILL: nothing is left running
    command = (str(tools.setpriv), "--pdeathsig", part.stop_signal, "--", *part.command)
    return {
        "command": shlex.join(command),
        "directory": ROOT if part.kind == "service" else "/",
        # Few malloc arenas, and memory given back: a backfill leaves `windows` at 82 MB instead of 123 (measured).
        # One BLAS thread: small least squares (ozone's NowCast) cost more CPU with several, and each has its buffers.
        "environment": 'PYTHONUNBUFFERED="1",MALLOC_ARENA_MAX="2",MALLOC_TRIM_THRESHOLD_="131072",'
        'OPENBLAS_NUM_THREADS="1"',
        "priority": 10 if part.kind == "server" else 20,
        "autorestart": "true",
        "startsecs": 1,
        "startretries": 30,
        "stopsignal": part.stop_signal,
        "stopwaitsecs": STOP_WAIT_S,
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": layout.log(part.name),
        "stdout_logfile_maxbytes": "10MB",
        "stdout_logfile_backups": 2,
        **({"user": part.user} if part.user else {}),
    }


def files(
    settings: Settings, parts: Iterable[Part], tools: Tools, layout: Layout, *, as_root: bool, max_files: int
) -> dict[Path, str]:
    """Every configuration file of the stack, by its path."""
    return {
        layout.mosquitto / "mosquitto.conf": mosquitto_conf(settings, layout, "root" if as_root else None),
        **{layout.mosquitto / f"{name}.acl": text for name, text in mosquitto_acls(settings).items()},
        layout.kafka / "server.properties": kafka_properties(settings, layout),
        layout.kafka / "log4j2.properties": KAFKA_LOG4J2,
        layout.postgres_conf: postgres_conf(settings, layout),
        layout.postgres / "pg_hba.conf": postgres_hba(settings),
        layout.postgres / "pg_ident.conf": "",
        layout.supervisor_conf: supervisord_conf(parts, tools, layout, as_root=as_root, max_files=max_files),
    }
