"""Set-up of a Debian machine: `python3 -m deploy.local.bootstrap`, with nothing but Debian's python3.

Each step is done only if what it makes is not there; everything fetched or built is kept in the cache
folder (CITYFEED_CACHE_DIR), so that a second start only looks. Standard library only.
"""

import fcntl
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from deploy.local import debian, kafka, node, python_env, timescaledb, tools
from deploy.local.progress import SetupError, Steps
from deploy.local.settings import load
from schemas.errors import CityfeedError

DISK_NEEDED_BYTES = 3 * 1024**3

# a step's title (or what makes it, once the steps before it are done) and what it does
Work = tuple[str | Callable[[], str], Callable[[], object]]


def missing_packages(cache: Path, plan: timescaledb.Plan, for_tests: bool) -> list[str]:
    """Debian packages to install: those that run the stack, those that build what is not built yet, and for the
    tests a browser and Node.
    """
    wanted = {
        "ca-certificates": Path("/etc/ssl/certs/ca-certificates.crt").exists(),
        "mosquitto": tools.program("mosquitto") is not None,
        "mosquitto-clients": tools.program("mosquitto_pub") is not None,
        "openjdk-17-jre-headless": tools.program("java") is not None,
        f"postgresql-{plan.postgres_major}": (
            timescaledb.server_dir(plan.postgres_major) / "bin" / "postgres"
        ).exists(),
        "python3-venv": importlib.util.find_spec("ensurepip") is not None or python_env.is_current(),
    }
    if for_tests:
        wanted["chromium"] = tools.program("chromium") is not None
        wanted["nodejs"] = tools.program("node") is not None
        if not node.modules_dir(cache).is_dir():
            wanted["npm"] = tools.program("npm") is not None
    if not kafka.jar_dir(cache).is_dir():
        wanted["maven"] = tools.program("mvn") is not None
    if timescaledb.installed_version(plan.postgres_major) is None:
        if plan.package:
            wanted[plan.package] = False
        elif not timescaledb.install_tree(cache, plan.postgres_major).is_dir():
            names = (*timescaledb.BUILD_PACKAGES, f"postgresql-server-dev-{plan.postgres_major}")
            wanted |= {name: debian.installed(name) for name in names}
    if "openjdk-17-jre-headless" in wanted and not debian.available("openjdk-17-jre-headless"):
        wanted["default-jre-headless"] = wanted.pop("openjdk-17-jre-headless")
    return [name for name, there in wanted.items() if not there]


def ready(cache: Path, with_tools: bool, for_tests: bool) -> bool:
    """Is everything there? Looks at files only: this is what every later start pays."""
    try:
        tools.find(cache)
    except SetupError:
        return False
    programs = ("mosquitto_pub", "chromium", "node") if for_tests else ("mosquitto_pub",)
    there = not for_tests or node.modules_dir(cache).is_dir()
    return there and python_env.is_current(with_tools) and all(map(tools.program, programs))


def postgres_plan(steps: Steps) -> timescaledb.Plan:
    """Which PostgreSQL and which TimescaleDB; raises `SetupError` where apt knows no PostgreSQL."""
    major = tools.postgres_major()
    if major is not None and timescaledb.installed_version(major):
        return timescaledb.Plan(major, "")
    chosen = timescaledb.plan(debian.available("postgresql-"))
    if chosen is None:
        debian.require_root_and_apt(["postgresql", "mosquitto", "maven", "openjdk-17-jre-headless"])
        debian.update(steps)
        chosen = timescaledb.plan(debian.available("postgresql-"))
    if chosen is None:
        raise SetupError("apt knows no PostgreSQL: look at /etc/apt/sources.list, it should name a Debian archive")
    return chosen


def set_up(cache: Path, with_tools: bool, for_tests: bool) -> None:
    """Do what is missing, a line each. Raises `SetupError`."""
    if shutil.disk_usage(cache).free < DISK_NEEDED_BYTES:
        raise SetupError(f"the disk of {cache} is nearly full: set-up needs {DISK_NEEDED_BYTES >> 30} GB free")
    steps = Steps(0, cache / "log")
    plan = postgres_plan(steps)
    packages = missing_packages(cache, plan, for_tests)
    if packages:
        debian.require_root_and_apt(packages)
    work: list[Work] = []
    if packages:
        work.append(
            (
                f"installing {len(packages)} Debian packages: {' '.join(packages)}",
                lambda: debian.install(steps, packages),
            )
        )
    if timescaledb.installed_version(plan.postgres_major) is None and not plan.package:
        work += timescaledb_steps(steps, cache, plan.postgres_major)
    if not kafka.jar_dir(cache).is_dir():
        work.append((f"fetching Kafka {kafka.version()}", lambda: kafka.fetch(steps, cache)))
    if for_tests and not node.modules_dir(cache).is_dir():
        work.append(("fetching Node's packages for the tests", lambda: node.fetch(steps, cache)))
    if not python_env.is_current(with_tools):
        work.append(("making the virtual environment", lambda: python_env.create(steps)))
        work.append(("installing Python packages by their hashes", lambda: python_env.install(steps, with_tools)))
    steps.total = len(work)
    for title, action in work:
        with steps.step(title if isinstance(title, str) else title()):
            action()
    tools.find(cache)


def timescaledb_steps(steps: Steps, cache: Path, postgres_major: int) -> list[Work]:
    """Download and build (unless the cache has the result), then install."""
    if os.geteuid() != 0:
        raise SetupError("TimescaleDB must be put beside PostgreSQL, which only root may do: run it once as root")
    install = (f"installing TimescaleDB for PostgreSQL {postgres_major}",
               lambda: timescaledb.install_built(cache, postgres_major))  # fmt: skip
    if timescaledb.install_tree(cache, postgres_major).is_dir():
        return [install]
    source: list[Path] = []
    return [
        ("fetching TimescaleDB's source", lambda: source.append(timescaledb.download(steps, cache))),
        (
            lambda: f"building TimescaleDB {timescaledb.source_version(source[0])}",
            lambda: timescaledb.build(steps, source[0], cache, postgres_major),
        ),
        install,
    ]


def main() -> int:
    """Exit code 0 when the machine is ready; otherwise 1 after one line that names the remedy.

    `--dev`: with the Python tools of lint, tests and bench. `--tests`: and with what only the tests need, a browser
    and Node with its packages.
    """
    for_tests = "--tests" in sys.argv[1:]
    with_tools = for_tests or "--dev" in sys.argv[1:]
    try:
        cache = Path(load(os.environ).cache_dir).resolve()
        if ready(cache, with_tools, for_tests):
            return 0
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("another set-up is at work here; waiting for it", flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            if not ready(cache, with_tools, for_tests):
                set_up(cache, with_tools, for_tests)
    except CityfeedError as error:
        print(f"cityfeed: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        advice = {28: "the disk is full, free about 3 GB", 13: "run it as root, or own this folder"}
        print(f"cityfeed: {error}: {advice.get(error.errno or 0, 'set-up cannot go on')}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ncityfeed: set-up was interrupted; the next start goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
