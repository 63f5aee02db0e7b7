"""The request log of a replay: one CSV row per request, in the order in which requests end. Tiers are numbers."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Self

from hadis_profiler.replay.simulate import Outcome

COLUMNS = ("arrival_s", "answered_s", "light", "heavy", "first", "final", "path")


class Log:
    """Writes outcomes as they come; a context manager."""

    def __init__(self, path: Path, tiers: list[str]) -> None:
        """Tiers are written as their place in `tiers`."""
        self._number = {name: str(i) for i, name in enumerate(tiers)} | {"": ""}
        self._file = path.open("w", newline="", encoding="utf-8")
        self._rows = csv.writer(self._file)
        self._rows.writerow(COLUMNS)

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()

    def add(self, o: Outcome) -> None:
        """Write one row."""
        number = self._number
        answered = "" if o.answered_s is None else f"{o.answered_s:.6f}"
        tiers = (number[o.light], number[o.heavy], number[o.first], number[o.final])
        self._rows.writerow((f"{o.arrival_s:.6f}", answered, *tiers, o.how))
