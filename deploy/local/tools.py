"""Where the programs of the stack are on this machine. Standard library only."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from deploy.local import kafka, timescaledb
from deploy.local.progress import SetupError

ROOT = Path(__file__).resolve().parents[2]
SETUP = "run `make run` (or python3 -m deploy.local.bootstrap) once: it installs what is missing"


@dataclass(frozen=True)
class Tools:
    """Programs and folders; all exist."""

    mosquitto: Path
    java: Path
    kafka_jars: Path
    postgres_bin: Path
    python: Path
    setpriv: Path


def venv_dir() -> Path:
    return ROOT / ".cityfeed" / "venv"


def program(name: str) -> Path | None:
    """A program on PATH or in the folders that a user's PATH often lacks."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin:/sbin:/bin")
    return Path(found) if found else None


def postgres_major() -> int | None:
    """The newest PostgreSQL server here that has TimescaleDB; else the newest; None without any."""
    folders = (path.parents[1].name for path in Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    servers = [int(name) for name in folders if name.isdecimal()]
    ready = [major for major in servers if timescaledb.installed_version(major)]
    return max(ready or servers, default=None)


def find(cache: Path) -> Tools:
    """All of them, or `SetupError` that names the first that is missing."""
    mosquitto, java, major = program("mosquitto"), program("java"), postgres_major()
    jars, python = kafka.jar_dir(cache), venv_dir() / "bin" / "python"
    if mosquitto is None:
        raise SetupError(f"Mosquitto is not installed: {SETUP}")
    if java is None or not jars.is_dir():
        raise SetupError(f"Kafka or its Java is not installed: {SETUP}")
    if major is None or timescaledb.installed_version(major) is None:
        raise SetupError(f"PostgreSQL or TimescaleDB is not installed: {SETUP}")
    if not python.exists():
        raise SetupError(f"the virtual environment is missing: {SETUP}")
    setpriv = program("setpriv")
    if setpriv is None:
        raise SetupError("setpriv is missing: apt-get install util-linux")
    return Tools(mosquitto, java, jars, timescaledb.server_dir(major) / "bin", python, setpriv)
