"""The last ratios of a tier's or of a worker's batches, and how a change of them is found.

By two CUSUM tests on log(ratio / expected) (Page 1954, "Continuous inspection schemes"), after which the window is only
what came since the change began: a slow-down is believed within some batches, a speed-up takes several times as many.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

_CLIP = 3.0
"""A ratio that is more than this many times the window's median, or less than its part, counts as that."""
_STEP = 0.7
"""The largest step of a CUSUM: one outlier alone is no change."""
_ALLOWANCE = 0.2
"""Half of the least change that is looked for, in logarithms (Montgomery, "Statistical Quality Control", 9.1)."""
_SLOWER, _FASTER = 1.3, 4.0
"""Sums at which a slow-down and a speed-up are believed."""


class BatchRatio(NamedTuple):
    """A batch that ran, and its time divided by the profile's."""

    worker: str
    tier: str
    batch: int
    ratio: float


class Band(NamedTuple):
    """Ratios that are believed as they are; those outside of it count as its ends."""

    low: float
    high: float

    @classmethod
    def around(cls, ratios: Iterable[float]) -> Band:
        """Return the band around the lower median of ratios, of which there is one at least."""
        rising = sorted(ratios)
        median = rising[(len(rising) - 1) // 2]
        return cls(median / _CLIP, median * _CLIP)

    def draw_in(self, ratio: float) -> float:
        """Return a ratio, or the end of the band that is nearer."""
        return self.low if ratio < self.low else self.high if ratio > self.high else ratio


class Window:
    """The last ratios of something, and the two CUSUMs on them."""

    def __init__(self, length: int) -> None:
        """Keep the last `length`."""
        self._length = length
        self.seen: deque[BatchRatio] = deque(maxlen=length)
        self._up, self._down = 0.0, 0.0
        self._rising, self._falling = 0, 0

    @property
    def fill(self) -> float:
        """The share of it that is full."""
        return len(self.seen) / self._length

    def add(self, seen: BatchRatio, expected: float) -> None:
        """Take one; `expected` is the ratio that was foreseen for it."""
        self.seen.append(seen)
        step = max(-_STEP, min(_STEP, math.log(seen.ratio / expected)))
        self._up = max(0.0, self._up + step - _ALLOWANCE)
        self._down = max(0.0, self._down - step - _ALLOWANCE)
        self._rising = self._rising + 1 if self._up else 0
        self._falling = self._falling + 1 if self._down else 0
        if self._up > _SLOWER:
            self._keep_latest(self._rising)
        elif self._down > _FASTER:
            self._keep_latest(self._falling)

    def _keep_latest(self, count: int) -> None:
        self.seen = deque(list(self.seen)[-count:], self.seen.maxlen)
        self._up, self._down, self._rising, self._falling = 0.0, 0.0, 0, 0
