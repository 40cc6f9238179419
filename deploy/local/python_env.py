"""The virtual environment from a lock file, each package checked by its hash. Standard library only.

`requirements.lock` is what runs, `requirements-dev.lock` has the tools of tests and lint as well.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

from deploy.local.progress import SetupError, Steps
from deploy.local.tools import ROOT, venv_dir

LOCK, DEV_LOCK = ROOT / "requirements.lock", ROOT / "requirements-dev.lock"
SOURCES = (ROOT, ROOT / "clients" / "python")
"""What the environment imports in place: the services, and the client, which is a package of its own."""

ENTRY = """#!{python}
import sys
from deploy.cli import main
sys.exit(main())
"""


def stamp_file() -> Path:
    return venv_dir() / "cityfeed-installed"


def wanted_stamp(lock_file: Path) -> str:
    """What the environment is made of: the lock file, this Python and our folders."""
    lock = hashlib.sha256(lock_file.read_bytes()).hexdigest()
    return f"{lock} python{sys.version_info.major}.{sys.version_info.minor} {':'.join(map(str, SOURCES))}\n"


def is_current(with_tools: bool = False) -> bool:
    """Is the environment that of today's lock file? One with the tools will do for running."""
    if not (venv_dir() / "bin" / "python").exists() or not stamp_file().is_file():
        return False
    locks = (DEV_LOCK,) if with_tools else (LOCK, DEV_LOCK)
    return stamp_file().read_text(encoding="utf-8") in [wanted_stamp(lock) for lock in locks]


def create(steps: Steps) -> None:
    """Make the environment if there is none that works (one copied from elsewhere does not)."""
    python = venv_dir() / "bin" / "python"
    works = python.exists() and subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0
    if not works:
        steps.run("python", [sys.executable, "-m", "venv", "--clear", venv_dir()])


def install(steps: Steps, with_tools: bool) -> None:
    """Install what the lock file names, and make this folder and `cityfeed` known to the environment."""
    lock = DEV_LOCK if with_tools else LOCK
    python = venv_dir() / "bin" / "python"
    options = ("--disable-pip-version-check", "--no-input", "--no-deps", "--require-hashes")
    steps.run("python", [python, "-m", "pip", "install", *options, "-r", lock])
    packages = next(venv_dir().glob("lib/python3*/site-packages"), None)
    if packages is None:
        raise SetupError(f"{venv_dir()} is not a virtual environment: remove it and start again")
    (packages / "cityfeed.pth").write_text("".join(f"{folder}\n" for folder in SOURCES), encoding="utf-8")
    entry = venv_dir() / "bin" / "cityfeed"
    entry.write_text(ENTRY.format(python=python), encoding="utf-8")
    entry.chmod(0o755)
    stamp_file().write_text(wanted_stamp(lock), encoding="utf-8")
