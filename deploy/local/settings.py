"""The settings as the local stack and its commands read them: folders are the project's, wherever a command is run."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from deploy.local.tools import ROOT
from schemas import settings
from schemas.settings import Settings


def load(environ: Mapping[str, str]) -> Settings:
    """As `schemas.settings.load`; a folder that is not absolute is one of the project's, not of the current folder's:
    who asks in a folder of files of their own means the same city, state and archive as the parts that run.
    """
    found = settings.load(environ)
    if Path.cwd() == ROOT:
        return found  # as they are: messages name them
    url = found.archive_url
    return replace(
        found,
        city_dir=str(ROOT / found.city_dir),
        state_dir=str(ROOT / found.state_dir),
        cache_dir=str(ROOT / found.cache_dir),
        archive_url=url if not url or "://" in url else str(ROOT / url),
    )
