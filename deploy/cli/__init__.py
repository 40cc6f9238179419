"""The command line, `cityfeed`. A command's file is imported only when that command is called."""

import sys
from importlib import import_module
from keyword import iskeyword

import typer

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
            app.command(name)(getattr(module, f"{name}_" if iskeyword(name) else name))
    return app


def main() -> None:
    """Run the command that the arguments name; an error of ours is one line and exit code 1."""
    asked = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    try:
        build([asked] if asked in COMMANDS else list(COMMANDS))()
    except CityfeedError as error:
        print(f"cityfeed: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:  # while it was still loading: typer takes the later ones
        sys.exit(130)
