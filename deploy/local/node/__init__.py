"""Node's packages that tests need: package-lock.json pins each by hash and names no host. Standard library only.

The AsyncAPI parser judges /asyncapi.json, TypeScript checks the JSDoc of clients/javascript, `ws` is a websocket for a
Node that has none. A new version: change package.json, `npm install --package-lock-only --ignore-scripts
--omit-lockfile-registry-resolved` in this folder, and take the `funding` entries out of the lock.
"""

import hashlib
import shutil
from pathlib import Path

from deploy.local.progress import Steps

FILES = Path(__file__).parent
LOCK = FILES / "package-lock.json"


def modules_dir(cache: Path) -> Path:
    """`node_modules`, in a folder named by what pins it: a new pin is a new folder."""
    return cache / f"node-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:8]}" / "node_modules"


def fetch(steps: Steps, cache: Path) -> None:
    """Bring the packages with npm, each checked by its hash; no script of theirs is run."""
    target = modules_dir(cache).parent
    unfinished = target.with_name(target.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(FILES / name, unfinished / name)
    steps.run("node", ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=unfinished)
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)
