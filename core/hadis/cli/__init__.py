"""The command `hadis`, put together from the entry points of the group `hadis.commands`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer

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
        try:
            command = entry.load()
        except ModuleNotFoundError as error:
            extra = _missing_extra(entry, error)
            if extra is None:
                raise
            explain = f"Needs the {extra}: pip install 'hadis[{extra}]'."
            app.command(entry.name, help=explain, context_settings=_ANY_WORDS)(_missing(entry.name, extra))
            continue
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=entry.name)
        else:
            app.command(entry.name)(command)
    return app


def _missing_extra(entry: EntryPoint, error: ModuleNotFoundError) -> str | None:
    """Return the extra without which a command cannot be loaded; None where the fault is ours.

    Each component's package is hadis_EXTRA, so an entry point's module tells its extra.
    """
    package, missing = entry.module.split(".")[0], error.name or ""
    ours = missing.split(".")[0] in ("hadis", package) and missing != package
    return package.removeprefix("hadis_") if package != "hadis" and not ours else None


def _missing(name: str, extra: str) -> Callable[[], Any]:
    def command() -> None:
        raise fail(f"{name} needs the {extra}: pip install 'hadis[{extra}]'")

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
