"""How commands print tables: whole, in 80 columns, on a terminal as in a pipe or a log."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table

WIDTH = 80
"""Columns that every table fits into; one that is narrower wraps its lines by itself."""
LOWER_IS_BETTER = "lower is better"


def console(*, stderr: bool = False) -> Console:
    """Return a console of the terminal's width, and of 80 columns at least, where there is none or it is narrower."""
    made = Console(stderr=stderr, highlight=False)
    made.width = max(WIDTH, made.width)
    return made


def facts(rows: Iterable[tuple[str, str]]) -> Table:
    """Return a table of names and what is so; long lines are folded."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table


def columns(*names: str, caption: str | None = None, title: str | None = None) -> Table:
    """Return a table with headings: the column whose name begins with "<" is text and is folded, others are numbers."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, caption=caption, title=title)
    table.caption_justify = table.title_justify = "left"
    for name in names:
        text = name.startswith("<")
        table.add_column(name.removeprefix("<"), no_wrap=not text, overflow="fold", justify="left" if text else "right")
    return table
