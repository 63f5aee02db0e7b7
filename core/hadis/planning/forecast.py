"""Demand, observed and forecast, from a counter of arrivals. Pure: time is an argument.

The forecast is what the planner should be ready for until the next plans have had their effect: the larger of a quick
and a slow mean, its rise carried on over the horizon, and the Poisson noise of the quick mean on top.
"""

from __future__ import annotations

import math
from collections import deque

FAST_S, SLOW_S = 5.0, 30.0
"""Windows of the two means: the quick one sees a burst, the slow one does not forget it in the next lull."""


class Forecaster:
    """Turns a counter that only rises (but may restart from 0) into requests per second."""

    def __init__(self, horizon_s: float, noise: float = 1.0) -> None:
        """Look `horizon_s` seconds ahead and add `noise` standard deviations of the quick mean."""
        self._horizon_s, self._noise = horizon_s, noise
        self._seen: deque[tuple[float, float]] = deque()
        self._raw = 0.0
        self._total = 0.0

    def update(self, now_s: float, arrivals_total: float) -> None:
        """Take a reading; one that is no number or not later than the last is left out."""
        if not math.isfinite(arrivals_total) or (self._seen and now_s <= self._seen[-1][0]):
            return
        if self._seen:
            # A counter that fell was started anew with its process.
            self._total += arrivals_total - self._raw if arrivals_total >= self._raw else arrivals_total
        self._raw = arrivals_total
        self._seen.append((now_s, self._total))
        while len(self._seen) > 2 and self._seen[1][0] <= now_s - SLOW_S:
            self._seen.popleft()

    @property
    def informed(self) -> bool:
        """Whether readings reach back over the quick window."""
        return len(self._seen) > 1 and self._seen[-1][0] - self._seen[0][0] >= FAST_S

    @property
    def observed_rps(self) -> float:
        """Mean of the last seconds; 0 before there are two readings."""
        return self._mean(FAST_S)

    @property
    def forecast_rps(self) -> float:
        """Demand to be ready for."""
        fast, slow = self._mean(FAST_S), self._mean(SLOW_S)
        # The quick mean's middle lies (SLOW_S - FAST_S) / 2 seconds after the slow one's.
        rise = max(0.0, fast - slow) / ((SLOW_S - FAST_S) / 2) * self._horizon_s
        return max(fast, slow) + rise + self._noise * math.sqrt(fast / FAST_S)

    def _mean(self, window_s: float) -> float:
        if len(self._seen) < 2:
            return 0.0
        now, total = self._seen[-1]
        # The reading before the window, so that a window shorter than the readings' distance still has two.
        at, before = next((s for s in reversed(self._seen) if s[0] <= now - window_s), self._seen[0])
        return (total - before) / (now - at)
