"""Makes a stack's folders and files: configuration, the database cluster, Kafka's storage. Idempotent."""

import base64
import hashlib
import os
import pwd
import resource
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

from deploy.local import configs, stack
from deploy.local.stack import Layout, Part, StackError
from deploy.local.tools import Tools
from schemas.settings import Settings

POSTGRES_USER = "postgres"
MAX_FILES = 65_536
UNIX_SOCKET_PATH_MAX = 107  # bytes, sun_path less its NUL


def postgres_user() -> str | None:
    """PostgreSQL refuses to run as root: then the package's own user; None means "as whoever runs this"."""
    return POSTGRES_USER if os.geteuid() == 0 else None


def layout(settings: Settings) -> Layout:
    """The folders of this stack.

    The database moves to /var/lib/cityfeed when its user could not reach the state folder (a clone in
    /root). Raises `StackError` where the state folder's path is too long for a socket.
    """
    state = Path(settings.state_dir).resolve()
    found = Layout(state, state / "postgres")
    if len(os.fsencode(found.supervisor_socket)) > UNIX_SOCKET_PATH_MAX:
        raise StackError(f"the path {state} is too long for a socket: set CITYFEED_STATE_DIR to a shorter one")
    if postgres_user() is None or _reachable_by_all(state):
        return found
    return Layout(state, Path("/var/lib/cityfeed") / hashlib.sha256(os.fsencode(state)).hexdigest()[:12])


def _reachable_by_all(path: Path) -> bool:
    """May a user that is not root pass through the folder and all above it (as far as they exist)?"""
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents) if folder.exists())


def write(settings: Settings, tools: Tools, parts: list[Part], where: Layout) -> None:
    """Everything that must be there before supervisord starts. Raises `StackError`."""
    for folder in (where.state, where.mosquitto, where.kafka, where.state / "log"):
        folder.mkdir(parents=True, exist_ok=True)
    where.postgres.mkdir(parents=True, exist_ok=True)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    max_files = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    texts = configs.files(settings, parts, tools, where, as_root=os.geteuid() == 0, max_files=max_files)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    _own_postgres_folder(where.postgres)
    _make_cluster(settings, tools, where)
    _format_kafka(tools, where)


def _own_postgres_folder(folder: Path) -> None:
    if (user := postgres_user()) is not None:
        owner = pwd.getpwnam(user)
        for path in (folder, *folder.glob("*.conf")):
            os.chown(path, owner.pw_uid, owner.pw_gid)


def _as_postgres(command: list[str], folder: Path, statements: str = "") -> str:
    """Run one of PostgreSQL's programs as its user; returns what it printed. Raises `StackError`."""
    done = subprocess.run(
        command, input=statements, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        user=postgres_user(), group=_group(), extra_groups=[] if postgres_user() else None, cwd=folder,
        env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    bad = [line for line in done.stdout.splitlines() if "ERROR:" in line or "FATAL:" in line or "error:" in line]
    if done.returncode != 0 or bad:
        raise StackError(f"{Path(command[0]).name} failed: {(bad or [done.stdout.strip()[-300:]])[0]}")
    return done.stdout


def _group() -> int | None:
    user = postgres_user()
    return pwd.getpwnam(user).pw_gid if user else None


def _make_cluster(settings: Settings, tools: Tools, where: Layout) -> None:
    """A cluster of our own with the role, the database and the extension; made aside, then put in place."""
    data, base = where.postgres / "data", stack.database(settings)
    if not data.is_dir():
        new = where.postgres / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        initdb = [str(tools.postgres_bin / "initdb"), "-D", str(new), "-U", POSTGRES_USER, "-E", "UTF8"]
        _as_postgres([*initdb, "--locale=C.UTF-8", "--auth=reject"], where.postgres)
        new.rename(data)
    provisioned = where.postgres / "provisioned"
    wanted = f"{base.user} {base.name}"
    if not provisioned.is_file() or wanted not in provisioned.read_text(encoding="utf-8").splitlines():
        _provision(base, tools, where)
        with provisioned.open("a", encoding="utf-8") as file:
            file.write(wanted + "\n")


def _provision(base: stack.Database, tools: Tools, where: Layout) -> None:
    """Role, database and extension, in single-user mode: no socket, no password, nobody else connected."""
    single = [str(tools.postgres_bin / "postgres"), "--single", "-D", str(where.postgres / "data")]
    single += ["-c", f"config_file={where.postgres_conf}"]
    look = "SELECT rolname FROM pg_roles\nSELECT datname FROM pg_database\n"
    there = _as_postgres([*single, "postgres"], where.postgres, look)
    statements = ""
    if f'rolname = "{base.user}"' not in there:
        statements += f'CREATE ROLE "{base.user}" LOGIN\n'
    if f'datname = "{base.name}"' not in there:
        statements += f'CREATE DATABASE "{base.name}" OWNER "{base.user}"\n'
    _as_postgres([*single, "postgres"], where.postgres, statements)
    _as_postgres([*single, base.name], where.postgres, "CREATE EXTENSION IF NOT EXISTS timescaledb\n")


def new_cluster_id() -> str:
    """Sixteen random bytes as Kafka writes its ids; none begins with a hyphen, for tools take that for an option."""
    while True:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not cluster_id.startswith("-"):
            return cluster_id


def _format_kafka(tools: Tools, where: Layout) -> None:
    """Kafka's storage gets its cluster id once."""
    if (where.kafka / "data" / "meta.properties").is_file():
        return
    shutil.rmtree(where.kafka / "data", ignore_errors=True)
    command = [
        str(tools.java), "-XX:TieredStopAtLevel=1", "-cp", f"{tools.kafka_jars}/*", "kafka.tools.StorageTool",
        "format", "-t", new_cluster_id(), "-c", str(where.kafka / "server.properties"), "--standalone",
    ]  # fmt: skip
    with tempfile.TemporaryFile() as output:
        if subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode != 0:
            output.seek(0)
            raise StackError(
                f"Kafka's storage could not be made: {output.read().decode(errors='replace').strip()[-300:]}"
            )
