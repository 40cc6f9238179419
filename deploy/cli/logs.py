"""`cityfeed logs PART`: what a part has said."""

import os
from typing import Annotated

import typer

from deploy.cli.here import Here
from deploy.local.stack import StackError


def logs(
    part: Annotated[str, typer.Argument(help="A part that `cityfeed status` shows, or supervisord.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it says more, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines.")] = 100,
) -> None:
    """Show the last lines that a part wrote."""
    here = Here.find()
    path = here.where.log(part if part == "supervisord" else here.part(part).name)
    if not path.is_file():
        raise StackError(f"{part} has written nothing yet: `cityfeed up` starts it")
    # tail follows the name, so that a log that is rotated meanwhile goes on
    os.execvp("tail", ["tail", "-n", str(lines), *(["-F"] if follow else []), str(path)])
