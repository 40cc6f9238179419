"""`cityfeed doctor`: what is missing on this machine and how to get it."""

import os

import typer

from deploy.local.doctor import run


def doctor() -> None:
    """Look at this machine: what is missing, and how to get it. Exit code 1 if something is."""
    if not run(os.environ):
        raise typer.Exit(1)
