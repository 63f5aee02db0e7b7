"""The command `hadis`, put together from the entry points of the group `hadis.commands`."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

import typer


def make_app() -> typer.Typer:
    """Return the command with every installed subcommand; one whose extra is missing is left out."""
    app = typer.Typer(
        name="hadis",
        help="Serve text-to-image diffusion models at the best quality that the GPUs allow within a latency objective.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(lambda: None)
    for entry in sorted(entry_points(group="hadis.commands"), key=lambda e: e.name):
        try:
            command = entry.load()
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("hadis."):
                raise
            continue
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=entry.name)
        else:
            app.command(entry.name)(command)
    return app


def main() -> None:
    """Run the command; a fault that a person can mend is one line and exit code 2."""
    make_app()(prog_name="hadis")


def fail(message: str) -> typer.Exit:
    """Print one line of error; return the exit (code 2) to raise."""
    print(f"hadis: {message}", file=sys.stderr)
    return typer.Exit(2)
