"""Debian packages: which are missing, how they are installed, where they come from. Standard library only."""

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local.progress import SetupError, Steps

APT = (
    "apt-get", "-y", "-o", "DPkg::Lock::Timeout=300",
    "-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=30",
)  # fmt: skip
POLICY = Path("/usr/sbin/policy-rc.d")
NO_CLUSTER = Path("/etc/postgresql-common/createcluster.d/cityfeed.conf")


@dataclass(frozen=True)
class SourceEntry:
    """Where a Debian machine gets its packages from: the archive's address and its key file (or "")."""

    uri: str
    signed_by: str

    def line(self, suite: str) -> str:
        """The one-line form of a source entry (deb-src) for another suite of the same archive."""
        options = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return f"deb-src {options}{self.uri} {suite} main\n"


def codename() -> str:
    """`bookworm` on Debian 12; "" where it is not told."""
    try:
        text = Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(r'^VERSION_CODENAME="?(\w+)', text, re.MULTILINE)
    return found[1] if found else ""


def source_entry(texts: Iterable[str], release: str) -> SourceEntry | None:
    """The entry for `release` main in apt's source files, in either of their two formats."""
    for text in texts:
        for entry in (*_stanzas(text), *_lines(text)):
            if entry is not None and release in entry[0]:
                return entry[1]
    return None


def _stanzas(text: str) -> Iterator[tuple[list[str], SourceEntry]]:
    for block in re.split(r"\n\s*\n", text):
        lines = [line for line in block.splitlines() if not line.startswith("#")]
        fields = dict(re.findall(r"^([\w-]+):[ \t]*(.*)$", "\n".join(lines), re.MULTILINE))
        if (
            "main" in fields.get("Components", "").split()
            and fields.get("Enabled", "yes") != "no"
            and fields.get("URIs")
        ):
            yield (
                fields.get("Suites", "").split(),
                SourceEntry(fields["URIs"].split()[0], fields.get("Signed-By", "")),
            )


def _lines(text: str) -> Iterator[tuple[list[str], SourceEntry]]:
    for found in re.finditer(r"^deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s+(.*)$", text, re.MULTILINE):
        options, uri, suite, components = found.groups()
        if "main" in components.split():
            key = re.search(r"signed-by=(\S+)", options or "")
            yield [suite], SourceEntry(uri, key[1] if key else "")


def machine_sources() -> Iterator[str]:
    """The texts of this machine's apt source files."""
    folder = Path("/etc/apt")
    for path in (folder / "sources.list", *sorted(folder.glob("sources.list.d/*"))):
        if path.suffix in (".list", ".sources") and path.is_file():
            yield path.read_text(encoding="utf-8", errors="replace")


def installed(package: str) -> bool:
    """Is the package installed (not merely configured once)?"""
    asked = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status}", package],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout == "installed"


def available(prefix: str) -> list[str]:
    """Package names that begin with `prefix`, as far as apt's lists on this machine know."""
    return subprocess.run(["apt-cache", "pkgnames", prefix], capture_output=True, text=True, check=False).stdout.split()


def apt_environment() -> dict[str, str]:
    return os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}


def require_root_and_apt(packages: Iterable[str]) -> None:
    """Raises `SetupError` where packages cannot be installed."""
    names = " ".join(packages)
    if not Path("/usr/bin/apt-get").exists():
        raise SetupError(f"no apt-get here: install what these Debian packages hold, then start again: {names}")
    if os.geteuid() != 0:
        raise SetupError(f"packages are missing and only root may install them: apt-get install {names}")


def update(steps: Steps) -> None:
    # without the mode, apt takes a network that is down for a success
    steps.run("apt", [*APT, "-o", "APT::Update::Error-Mode=any", "update"], env=apt_environment())


def install(steps: Steps, packages: list[str]) -> None:
    """Install packages; apt's lists are fetched anew where they are empty or too old for it."""
    command = [*APT, "install", "--no-install-recommends", *packages]
    with _nothing_started(packages):
        try:
            steps.run("apt", command, env=apt_environment())
            return
        except SetupError as error:
            failure = error
        try:
            update(steps)
        except SetupError as error:  # perhaps only of an archive that is not needed: still try
            failure = error
        try:
            steps.run("apt", command, env=apt_environment())
        except SetupError:
            raise failure from None


@contextmanager
def _nothing_started(packages: list[str]) -> Iterator[None]:
    """Keep new packages from starting daemons of their own and PostgreSQL from making a cluster on 5432."""
    made = []
    new_postgres = [name for name in packages if re.fullmatch(r"postgresql-\d+", name)]
    if new_postgres:
        NO_CLUSTER.parent.mkdir(parents=True, exist_ok=True)
        NO_CLUSTER.write_text("create_main_cluster = false\n", encoding="utf-8")
        made.append(NO_CLUSTER)
    if not POLICY.exists():
        POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
        POLICY.chmod(0o755)
        made.append(POLICY)
    try:
        yield
    finally:
        for path in made:
            path.unlink(missing_ok=True)
    if "mosquitto" in packages and Path("/run/systemd/system").exists():
        # the package's own broker would be started on 1883 at the next boot; only ours is wanted
        subprocess.run(["systemctl", "disable", "--quiet", "mosquitto"], capture_output=True, check=False)
