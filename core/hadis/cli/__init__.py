"""The command `hadis`, put together from the entry points of the group `hadis.commands`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

import typer
from rich.markup import escape

from hadis.cli.extras import missing_extras

_ANY_WORDS = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def make_app(only: str | None = None) -> typer.Typer:
    """Return the command with every subcommand; one whose extra is not installed says so when it is run.

    Where there is a subcommand `only`, the others are left out, and nothing waits for their libraries.
    """
    app = typer.Typer(
        name="hadis",
        help="Serve text-to-image diffusion models at the best quality that the GPUs allow within a latency objective.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(lambda: None)
    entries = sorted(entry_points(group="hadis.commands"), key=lambda e: e.name)
    for entry in [e for e in entries if e.name == only] or entries:
        if extras := missing_extras(entry):
            explain = escape(f"Needs {_how_to_install(extras)}.")  # else the extra is taken for markup
            app.command(entry.name, help=explain, context_settings=_ANY_WORDS)(_missing(entry.name, extras))
            continue
        command = entry.load()
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=entry.name)
        else:
            app.command(entry.name)(command)
    return app


def _how_to_install(extras: tuple[str, ...]) -> str:
    return f"the {' and the '.join(extras)}: pip install 'hadis[{','.join(extras)}]'"


def _missing(name: str, extras: tuple[str, ...]) -> Callable[[], Any]:
    def command() -> None:
        raise fail(f"{name} needs {_how_to_install(extras)}")

    return command


def main() -> None:
    """Run the command and end the process with its exit code.

    0: done. 2: a fault that a person can mend, as one line on stderr, or as typer's box for a wrong usage. 1: a fault
    of ours, with its traceback. 130: Ctrl-C, but for `hadis up`, which ends with 0.
    """
    make_app(*sys.argv[1:2])(prog_name="hadis")


def fail(message: str) -> typer.Exit:
    """Print one line of error; return the exit (code 2) to raise."""
    print(f"hadis: {message}", file=sys.stderr)
    return typer.Exit(2)
