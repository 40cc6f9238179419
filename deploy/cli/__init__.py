"""The command line, `cityfeed`. A command's file is imported only when that command is called."""

import errno
import os
import sys
from importlib import import_module
from inspect import getdoc
from keyword import iskeyword

import typer
from rich.markup import escape

from schemas.errors import CityfeedError

# command -> the file that has it: a function of the command's name, or a typer `app` of sub-commands
COMMANDS = {
    "up": "up",
    "down": "up",
    "status": "status",
    "logs": "logs",
    "doctor": "doctor",
    "clean": "up",
    "replay": "replay",
    "simulate": "simulate",
    "watch": "watch",
    "sensors": "sensors",
    "export": "export",
    "archive": "archive",
    "import": "imports",
    "index": "index",
    "qc": "qc",
    "dead-letters": "dead_letters",
}
OUTPUT_IS_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
GROUPS = {
    "sensors": "The sensors of the city folder.",
    "dead-letters": "What was refused: list, show, replay.",
}


def build(names: list[str]) -> typer.Typer:
    """The typer application with these commands."""
    app = typer.Typer(
        help="Real-time city data: MQTT to Kafka to TimescaleDB to REST and websockets.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(lambda: None)  # keeps one command a sub-command
    for name in names:
        module = import_module(f"deploy.cli.{COMMANDS[name]}")
        if name in GROUPS:
            app.add_typer(module.app, name=name, help=GROUPS[name])
        else:
            function = getattr(module, f"{name}_" if iskeyword(name) else name)
            # rich takes "[time]", a line of TOML, for markup and would leave it out
            app.command(name, help=escape(getdoc(function) or ""))(function)
    return app


def main() -> None:
    """Run the command that the arguments name; an error of ours is one line and exit code 1."""
    asked = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    try:
        try:
            build([asked] if asked in COMMANDS else list(COMMANDS))()
        finally:
            sys.stdout.flush()  # what does not fit is found here, not when the interpreter ends
    except OSError as error:
        if error.errno not in OUTPUT_IS_FULL:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left of it goes nowhere
        print(f"cityfeed: {error.filename or 'the output'}: {error.strerror}", file=sys.stderr)
        sys.exit(1)
    except CityfeedError as error:
        print(f"cityfeed: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:  # while it was still loading: typer takes the later ones
        sys.exit(130)
