"""The virtual environment from requirements.lock, each package checked by its hash. Standard library only."""

import hashlib
import subprocess
import sys
from pathlib import Path

from deploy.local.progress import SetupError, Steps
from deploy.local.tools import ROOT, venv_dir

LOCK = ROOT / "requirements.lock"
SOURCES = (ROOT, ROOT / "clients" / "python")
"""What the environment imports in place: the services, and the client, which is a package of its own."""

ENTRY = """#!{python}
import sys
from deploy.cli import main
sys.exit(main())
"""


def stamp_file() -> Path:
    return venv_dir() / "cityfeed-installed"


def wanted_stamp() -> str:
    """What the environment is made of: the lock file, this Python and our folders."""
    lock = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    return f"{lock} python{sys.version_info.major}.{sys.version_info.minor} {':'.join(map(str, SOURCES))}\n"


def is_current() -> bool:
    python = venv_dir() / "bin" / "python"
    return python.exists() and stamp_file().is_file() and stamp_file().read_text(encoding="utf-8") == wanted_stamp()


def create(steps: Steps) -> None:
    """Make the environment if there is none that works (one copied from elsewhere does not)."""
    python = venv_dir() / "bin" / "python"
    works = python.exists() and subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0
    if not works:
        steps.run("python", [sys.executable, "-m", "venv", "--clear", venv_dir()])


def install(steps: Steps) -> None:
    """Install what the lock file names, and make this folder and `cityfeed` known to the environment."""
    python = venv_dir() / "bin" / "python"
    options = ("--disable-pip-version-check", "--no-input", "--no-deps", "--require-hashes")
    steps.run("python", [python, "-m", "pip", "install", *options, "-r", LOCK])
    packages = next(venv_dir().glob("lib/python3*/site-packages"), None)
    if packages is None:
        raise SetupError(f"{venv_dir()} is not a virtual environment: remove it and start again")
    (packages / "cityfeed.pth").write_text("".join(f"{folder}\n" for folder in SOURCES), encoding="utf-8")
    entry = venv_dir() / "bin" / "cityfeed"
    entry.write_text(ENTRY.format(python=python), encoding="utf-8")
    entry.chmod(0o755)
    stamp_file().write_text(wanted_stamp(), encoding="utf-8")
