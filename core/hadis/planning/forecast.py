"""Demand, observed and forecast, from counters of arrivals. Pure: time is an argument.

The forecast is what the planner should be ready for until the next plans have had their effect: the larger of a fast
and a slow mean, its rise carried on over the horizon, and the Poisson noise of the fast mean on top.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hadis.planning.tuning import Tuning

_NOISE_DEVIATIONS = 1.0
_MOST_SERIES = 1000
"""Counters that are remembered, those of the last reading first of all: routers come and go under new names for as long
as a service lives."""
_CLOSEST_S = 0.1
"""Readings that are closer say no rate: one request between them would look like many per second."""
_MOST_RPS = 1e6
"""What rises faster is no count of requests."""


@dataclass(frozen=True)
class Demand:
    """What was read of the arrivals so far, and the requests per second that follow from it."""

    tuning: Tuning = Tuning()
    series: Mapping[str, float] = field(default_factory=dict)
    """The last value of each counter; each may come, go, and start again from 0."""
    total: float = 0.0
    """Arrivals since the first reading."""
    readings: tuple[tuple[float, float], ...] = ()
    """(seconds, total), of the longest window and one before it."""

    def add(self, at_s: float, series: Mapping[str, float]) -> Demand:
        """Return the demand with one more reading of the counters.

        A counter that is new counts from what it shows now, and so do all where they rise as no service could make
        them. A value that is no number, and a reading that is not later than the last one, are left out.
        """
        finite = {name: value for name, value in series.items() if math.isfinite(value)}
        since_s = at_s - self.readings[-1][0] if self.readings else math.inf
        if not finite or since_s < _CLOSEST_S:
            return self
        rise = sum(_rise(self.series.get(name), value) for name, value in finite.items())
        total = self.total + (rise if rise <= _MOST_RPS * since_s else 0.0)
        absent = [(name, value) for name, value in self.series.items() if name not in finite]
        readings = (*self.readings, (at_s, total))
        longest_s = max(self.tuning.slow_window_s, self.tuning.steady_window_s)
        while len(readings) > 2 and readings[1][0] <= at_s - longest_s:
            readings = readings[1:]
        kept = dict(absent[max(0, len(absent) + len(finite) - _MOST_SERIES) :])
        return replace(self, series=kept | finite, total=total, readings=readings)

    @property
    def informed(self) -> bool:
        """Whether readings reach back over the fast window."""
        return len(self.readings) > 1 and self.readings[-1][0] - self.readings[0][0] >= self.tuning.fast_window_s

    @property
    def observed_rps(self) -> float:
        """Mean of the last seconds; 0 before there are two readings."""
        return self._mean(self.tuning.fast_window_s)

    @property
    def current_rps(self) -> float:
        """Requests per second now: the steady mean, and a late one as far as counting noise does not explain it.

        The mean of Poisson arrivals over a window differs from the true rate by sqrt(rate / window) as a rule: up to
        somewhat more than that it says nothing, and from one such deviation more on it is believed.
        """
        window_s = self.tuning.change_window_s
        late, steady = self._mean(window_s), self._mean(self.tuning.steady_window_s)
        deviation = math.sqrt(max(late, steady) / window_s)
        beyond = abs(late - steady) / deviation - self.tuning.change_deviations if deviation else 0.0
        return steady + min(1.0, max(0.0, beyond)) * (late - steady)

    @property
    def mix_arrivals(self) -> float:
        """Arrivals within the window that says in which shares image sizes, and requests of few tiers, come."""
        return self._since(self.tuning.mix_window_s)[0]

    def forecast_rps(self, horizon_s: float) -> float:
        """Return the demand to be ready for over the next `horizon_s` seconds."""
        fast_s, slow_s = self.tuning.fast_window_s, self.tuning.slow_window_s
        fast, slow = self._mean(fast_s), self._mean(slow_s)
        # The fast mean's middle lies (slow_s - fast_s) / 2 seconds after the slow one's.
        rise = max(0.0, fast - slow) / ((slow_s - fast_s) / 2) * horizon_s
        return max(fast, slow) + rise + _NOISE_DEVIATIONS * math.sqrt(fast / fast_s)

    def _mean(self, window_s: float) -> float:
        if len(self.readings) < 2:
            return 0.0
        arrivals, seconds = self._since(window_s)
        return arrivals / seconds

    def _since(self, window_s: float) -> tuple[float, float]:
        """Return the arrivals since the reading before a window, and the seconds since then."""
        if not self.readings:
            return 0.0, 0.0
        now, total = self.readings[-1]
        # The reading before the window, so that a window shorter than the readings' distance still has two.
        at, before = next((r for r in reversed(self.readings) if r[0] <= now - window_s), self.readings[0])
        return total - before, now - at


def _rise(before: float | None, value: float) -> float:
    if before is None:
        return 0.0
    return value - before if value >= before else value  # a counter that fell was started anew with its process
