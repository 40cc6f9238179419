"""TimescaleDB for this machine's PostgreSQL: Debian's package where there is one, else built from source.

Debian 12 has no package; the source package of Debian 13 (the Apache edition) builds on it. It is taken
from the machine's own Debian archive through an apt configuration in the cache folder, so that apt's
sources on the machine stay as they are. Standard library only.
"""

import os
import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from deploy.local import debian
from deploy.local.progress import SetupError, Steps

SOURCE_SUITE = "trixie"
BUILD_PACKAGES = ("cmake", "build-essential", "libssl-dev", "libkrb5-dev")
CMAKE_OPTIONS = (
    "-DAPACHE_ONLY=ON", "-DREGRESS_CHECKS=OFF", "-DTAP_CHECKS=OFF", "-DWARNINGS_AS_ERRORS=OFF",
    "-DSEND_TELEMETRY_DEFAULT=NO", "-DCMAKE_BUILD_TYPE=Release",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Which PostgreSQL is used, and the package that brings TimescaleDB ("" = built from source)."""

    postgres_major: int
    package: str


def plan(package_names: list[str]) -> Plan | None:
    """The newest PostgreSQL that has a TimescaleDB package, else the newest PostgreSQL; None without any."""
    packaged = [int(m[1]) for name in package_names if (m := re.fullmatch(r"postgresql-(\d+)-timescaledb", name))]
    if packaged:
        return Plan(max(packaged), f"postgresql-{max(packaged)}-timescaledb")
    servers = [int(m[1]) for name in package_names if (m := re.fullmatch(r"postgresql-(\d+)", name))]
    return Plan(max(servers), "") if servers else None


def server_dir(postgres_major: int) -> Path:
    return Path(f"/usr/lib/postgresql/{postgres_major}")


def share_dir(postgres_major: int) -> Path:
    return Path(f"/usr/share/postgresql/{postgres_major}/extension")


def installed_version(postgres_major: int) -> str | None:
    """The version that `CREATE EXTENSION timescaledb` would take; None if it is not (wholly) there."""
    control = share_dir(postgres_major) / "timescaledb.control"
    if not control.is_file():
        return None
    found = re.search(r"default_version\s*=\s*'([^']+)'", control.read_text(encoding="utf-8"))
    if not found or not (server_dir(postgres_major) / "lib" / f"timescaledb-{found[1]}.so").is_file():
        return None
    return found[1]


def install_tree(cache: Path, postgres_major: int) -> Path:
    """Where the built files are kept; a new machine with an old cache copies them and builds nothing."""
    return cache / f"timescaledb-{debian.codename()}-{platform.machine()}-pg{postgres_major}"


def download(steps: Steps, cache: Path) -> Path:
    """Debian's source package, unpacked; returns its folder."""
    work = cache / "timescaledb-source"
    shutil.rmtree(work, ignore_errors=True)
    (work / "lists" / "partial").mkdir(parents=True)
    (work / "archives" / "partial").mkdir(parents=True)
    entry = debian.source_entry(debian.machine_sources(), debian.codename())
    if entry is None:
        raise SetupError(
            "no Debian archive in /etc/apt: is this Debian? (TimescaleDB can be installed by hand instead)"
        )
    (work / "sources.list").write_text(entry.line(SOURCE_SUITE), encoding="utf-8")
    apt = [
        *debian.APT, "-o", "APT::Sandbox::User=root",
        "-o", f"Dir::Etc::sourcelist={work}/sources.list", "-o", "Dir::Etc::sourceparts=/dev/null",
        "-o", f"Dir::State::lists={work}/lists", "-o", f"Dir::Cache={work}",
    ]  # fmt: skip
    steps.run(
        "timescaledb", [*apt, "-o", "APT::Update::Error-Mode=any", "update"], env=debian.apt_environment(), cwd=work
    )
    steps.run("timescaledb", [*apt, "source", "timescaledb"], env=debian.apt_environment(), cwd=work)
    folders = [path for path in work.glob("timescaledb-*") if path.is_dir()]
    if len(folders) != 1:
        raise SetupError(f"the source package of TimescaleDB did not unpack into one folder (see {steps.log_dir})")
    return folders[0]


def source_version(source: Path) -> str:
    """`timescaledb-2.19.3+dfsg` -> `2.19.3`."""
    return source.name.removeprefix("timescaledb-").partition("+")[0]


def build(steps: Steps, source: Path, cache: Path, postgres_major: int) -> None:
    """Build it into the cache folder; nothing on the machine changes yet."""
    tree = install_tree(cache, postgres_major)
    unfinished = tree.with_name(tree.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    pg_config = server_dir(postgres_major) / "bin" / "pg_config"
    steps.run(
        "timescaledb",
        ["cmake", "-S", source, "-B", source / "build", *CMAKE_OPTIONS, f"-DPG_CONFIG={pg_config}"],
    )
    jobs = f"-j{len(os.sched_getaffinity(0))}"
    steps.run("timescaledb", ["make", "-C", source / "build", jobs, "install", f"DESTDIR={unfinished.resolve()}"])
    shutil.rmtree(tree, ignore_errors=True)
    unfinished.rename(tree)
    shutil.rmtree(source.parent, ignore_errors=True)


def install_built(cache: Path, postgres_major: int) -> None:
    """Copy the built files to where PostgreSQL looks; the control file last, for it says "complete"."""
    tree = install_tree(cache, postgres_major)
    files = sorted((path for path in tree.rglob("*") if path.is_file()), key=lambda path: path.suffix == ".control")
    for path in files:
        target = Path("/") / path.relative_to(tree)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target.with_name(target.name + ".new"))
        target.with_name(target.name + ".new").rename(target)
