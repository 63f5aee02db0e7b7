"""What a client sees before its answer: previews, and the light image while the heavy tier makes another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Partial:
    """An encoded image that is not the answer."""

    image: bytes
    size: str | None
    """Width x height, in pixels; None where the worker does not tell."""
    made_by: Literal["light", "heavy"]


class Partials:
    """The partial images of one job, as many as its client takes; numbered from 0 as they come."""

    def __init__(self, most: int, show: Callable[[int, Partial], None]) -> None:
        """`show` gets each with its number."""
        self._most, self._show, self._shown = most, show, 0

    def previews(self, *, may_be_deferred: bool) -> int:
        """Return how many previews a batch may make.

        One is left for a light image that may be deferred, and of the others half for the heavy batch after it.
        """
        left = self._most - self._shown
        return max(0, left - 1) // 2 if may_be_deferred else left

    def add(self, partial: Partial) -> None:
        """Show a partial image, unless there were enough."""
        if self._shown < self._most:
            self._shown += 1
            self._show(self._shown - 1, partial)
