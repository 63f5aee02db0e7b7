"""When samples were taken, by our clock: Prometheus' clock may be another, may jump, and there may be two of them.

Behind one address there are often two Prometheus that scrape by turns: what the one says last may be older than what
the other said before, and a counter that falls would count as one that was started anew.
"""

from __future__ import annotations

from collections.abc import Mapping

Sampled = tuple[float, float]
"""When a sample was taken, in seconds, and its value."""
_STEP_S = 2.0
"""Clocks that part by more have jumped; by less, an answer was slow on its way."""


class SampleClock:
    """Knows the newest sample of each series, by our clock: a sample has the same time whenever it is read."""

    def __init__(self) -> None:
        """Know nothing of Prometheus' clock yet."""
        self._offset_s: float | None = None
        self._evaluated_s = 0.0
        self._newest: Mapping[str, Sampled] = {}
        self.setbacks = 0
        """How often Prometheus' clock went back: what it tells then are samples of before, of lower counters."""

    def newest(self, samples: Mapping[str, Sampled], evaluated_s: float, now_s: float) -> dict[str, Sampled]:
        """Return for each series the newest sample that was seen of it, at times of our clock, which says `now_s`.

        Times of `samples`, and when they were evaluated, are of Prometheus' clock.
        """
        self._follow(now_s - evaluated_s, again=evaluated_s == self._evaluated_s)
        self._evaluated_s, offset_s = evaluated_s, self._offset_s or 0.0
        self._newest = {series: max(sample, self._newest.get(series, sample)) for series, sample in samples.items()}
        return {series: (at_s + offset_s, value) for series, (at_s, value) in self._newest.items()}

    def _follow(self, offset_s: float, *, again: bool) -> None:
        """Take what our clock is ahead by; `again`: the answer is one of before, from a cache on its way."""
        before_s = self._offset_s
        if before_s is not None and (again or abs(offset_s - before_s) <= _STEP_S):
            return
        if before_s is not None and offset_s > before_s:
            self.setbacks += 1
            self._newest = {}
        self._offset_s = offset_s
