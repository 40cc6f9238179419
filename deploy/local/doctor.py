"""What is missing on this machine and how to get it, a line each. Runs before set-up too: standard library only."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local import debian, kafka, prepare, probes, python_env, stack, supervise, timescaledb, tools
from deploy.local.settings import load
from deploy.local.tools import ROOT
from schemas.errors import CityfeedError
from schemas.settings import Settings

SETUP = "make run sets it up (as root)"
MEMORY_NEEDED_BYTES = 2 * 1024**3
DISK_NEEDED_BYTES = 3 * 1024**3


@dataclass(frozen=True)
class Check:
    """One look at the machine. `found` says what is there, `remedy` what to do where that is not enough."""

    ok: bool
    what: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        line = f"{'ok     ' if self.ok else 'MISSING'}  {self.what:<22} {self.found}"
        return line if self.ok else f"{line} -> {self.remedy}"


def run(environ: Mapping[str, str]) -> bool:
    """Print all checks; True if nothing is missing."""
    try:
        settings = load(environ)
    except CityfeedError as error:
        print(Check(False, "settings", "cannot be used", str(error)))
        return False
    checks = [*machine(), *programs(settings), *addresses(settings), *city(settings)]
    for check in checks:
        print(check)
    missing = sum(not check.ok for check in checks)
    print("nothing is missing" if not missing else f"{missing} of {len(checks)} checks found something missing")
    return not missing


def machine() -> Iterator[Check]:
    """The machine itself."""
    name = debian.codename()
    apt = Path("/usr/bin/apt-get").exists()
    yield Check(
        apt,
        "system",
        f"Debian {name}" if apt else "no apt-get",
        "the local stack installs itself on Debian 12 or newer",
    )
    yield Check(
        sys.version_info >= (3, 11),
        "python",
        sys.version.split()[0],
        "install Python 3.11 or newer: apt-get install python3",
    )
    root = os.geteuid() == 0
    yield Check(True, "user", "root" if root else "not root: set-up can install nothing, but what is set up runs")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Check(
        memory >= MEMORY_NEEDED_BYTES,
        "memory",
        f"{memory / 2**30:.1f} GB",
        "the stack takes 1.2 GB; 2 GB is the least",
    )
    free = shutil.disk_usage(ROOT).free
    yield Check(free >= DISK_NEEDED_BYTES, "disk", f"{free / 2**30:.0f} GB free", "free some space: 3 GB is the least")


def programs(settings: Settings) -> Iterator[Check]:
    """What set-up installs."""
    for title, name, package in (
        ("Mosquitto", "mosquitto", "mosquitto"),
        ("Mosquitto's clients", "mosquitto_pub", "mosquitto-clients"),
        ("Java", "java", "openjdk-17-jre-headless"),
    ):
        path = tools.program(name)
        yield Check(path is not None, title, str(path or "not installed"), f"{SETUP}, or: apt-get install {package}")
    cache = Path(settings.cache_dir).resolve()
    jars = kafka.jar_dir(cache)
    yield Check(jars.is_dir(), "Kafka", kafka.version() if jars.is_dir() else "not fetched", SETUP)
    major = tools.postgres_major()
    postgres = f"{SETUP}, or: apt-get install postgresql"
    yield Check(major is not None, "PostgreSQL", str(major or "not installed"), postgres)
    version = timescaledb.installed_version(major) if major else None
    yield Check(
        version is not None,
        "TimescaleDB",
        version or "not installed",
        f"{SETUP}: Debian 12 has no package, it is built",
    )
    venv = "current" if python_env.is_current() else "missing or older than requirements.lock"
    yield Check(python_env.is_current(), "virtual environment", venv, SETUP)


def addresses(settings: Settings) -> Iterator[Check]:
    """Ports: free, or held by this stack itself."""
    try:
        found = [address for own in stack.addresses(settings).values() for address in own]
        running = supervise.supervisord_pid(prepare.layout(settings)) is not None
    except CityfeedError as error:
        yield Check(False, "addresses", "cannot be used", str(error))
        return
    if running:
        yield Check(True, "ports", "cityfeed is running and holds them")
        return
    for address in found:
        conflicts = probes.port_conflicts([address])
        yield Check(not conflicts, f"port {address.port}", "in use" if conflicts else "free", *conflicts)


def city(settings: Settings) -> Iterator[Check]:
    """The city folder, read as the services read it (needs the virtual environment)."""
    folder = Path(settings.city_dir)
    if not folder.is_dir():
        yield Check(False, "city folder", str(folder), "set CITYFEED_CITY_DIR to a folder with a city.toml")
        return
    try:
        from schemas.city import read_city
    except ImportError:
        yield Check(True, "city folder", f"{folder} (looked at once the virtual environment is there)")
        return
    try:
        read_city(folder)
    except CityfeedError as error:
        yield Check(False, "city folder", str(folder), str(error))
    else:
        yield Check(True, "city folder", str(folder))


if __name__ == "__main__":
    sys.exit(0 if run(os.environ) else 1)
