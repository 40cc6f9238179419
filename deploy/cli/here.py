"""The stack that the environment's settings describe: what every command of the local stack begins with."""

import os
from dataclasses import dataclass
from pathlib import Path

from deploy.local import prepare, stack, tools
from deploy.local.settings import load
from deploy.local.stack import Layout, Part
from deploy.local.tools import Tools
from schemas.settings import Settings


@dataclass(frozen=True)
class Here:
    """Settings, programs, folders and parts of this stack."""

    settings: Settings
    tools: Tools
    where: Layout
    parts: list[Part]

    @classmethod
    def find(cls) -> "Here":
        """Raises `CityfeedError` where a setting is wrong or the machine is not set up."""
        settings = load(os.environ)
        found = tools.find(Path(settings.cache_dir).resolve())
        where = prepare.layout(settings)
        servers = stack.server_parts(settings, found, where, prepare.postgres_user())
        return cls(settings, found, where, servers + stack.service_parts(settings, found))

    def part(self, name: str) -> Part:
        """Raises `StackError` with the names that there are."""
        for part in self.parts:
            if part.name == name:
                return part
        raise stack.StackError(f"there is no part {name!r}; there are {', '.join(p.name for p in self.parts)}")
