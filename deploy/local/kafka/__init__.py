"""Kafka's jars: `pom.xml` says which, `jars.sha256` pins each. Standard library only."""

import hashlib
import re
import shutil
from pathlib import Path

from deploy.local.progress import SetupError, Steps

POM = Path(__file__).with_name("pom.xml")
PINS = Path(__file__).with_name("jars.sha256")


def version() -> str:
    """Kafka's version, out of the pom."""
    found = re.search(r"<kafka.version>([^<]+)<", POM.read_text(encoding="utf-8"))
    if not found:
        raise SetupError(f"{POM} does not name Kafka's version")
    return found[1]


def jar_dir(cache: Path) -> Path:
    """The folder of the jars, named by what pins them: a new pin is a new folder."""
    return cache / f"kafka-{version()}-{hashlib.sha256(PINS.read_bytes()).hexdigest()[:8]}"


def fetch(steps: Steps, cache: Path) -> None:
    """Bring the jars with maven, compare each with its pin, and only then put them in place."""
    target = jar_dir(cache)
    unfinished = target.with_name(target.name + ".part").resolve()
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    pom = shutil.copy(POM, unfinished / "pom.xml")  # maven makes a folder `target` beside it
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={unfinished}", "-DincludeScope=runtime"]
    steps.run("kafka", ["mvn", "-q", "-B", "-f", pom, *goal])
    found = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in unfinished.glob("*.jar")}
    pinned = {(words := line.split())[1]: words[0] for line in PINS.read_text(encoding="utf-8").splitlines()}
    wrong = sorted(name for name in found.keys() | pinned.keys() if found.get(name) != pinned.get(name))
    if wrong:
        raise SetupError(f"{wrong[0]} is not the file that {PINS.name} pins: look at the proxy, or pin the new version")
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)
