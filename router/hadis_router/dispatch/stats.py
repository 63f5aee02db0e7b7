"""How jobs ended: all as counts, those of the last minute as rates, latencies and attainment, for the status."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from hadis_router.dispatch.answer import OUTCOMES, Outcome

WINDOW_S = 60.0
_MOST_LATENCIES = 20_000
_COUNTED: tuple[Outcome, ...] = ("answered", "refused", "failed")
"""Outcomes that attainment is a share of: what clients cancel or ask for wrongly says nothing of the service."""


@dataclass(frozen=True, slots=True)
class EndedJob:
    """One job that ended: when (loop time), how, after how many seconds, and whether with an image in time."""

    at: float
    outcome: Outcome
    how: str
    """The path of its answer, its error's code, or "cancelled"."""
    latency_s: float
    in_time: bool


@dataclass(slots=True)
class _Second:
    """What ended within one second. A flood is counted like anything else, so that memory is bounded by time."""

    at: int
    ended: Counter[tuple[Outcome, str]] = field(default_factory=Counter)
    in_time: int = 0


class RecentJobs:
    """Jobs that ended in the last minute, and how many ever ended which way."""

    def __init__(self) -> None:
        """Start empty."""
        self._seconds: deque[_Second] = deque(maxlen=int(WINDOW_S) + 1)
        self._latencies: deque[tuple[float, float]] = deque(maxlen=_MOST_LATENCIES)
        self._began: float | None = None
        self.totals: dict[Outcome, Counter[str]] = {outcome: Counter() for outcome in OUTCOMES}
        self.in_time_total = 0

    def add(self, ended: EndedJob, count: int = 1) -> None:
        """Take jobs that ended alike."""
        second = self._second(ended.at)
        second.ended[ended.outcome, ended.how] += count
        self.totals[ended.outcome][ended.how] += count
        if ended.in_time:
            second.in_time += count
            self.in_time_total += count
        if ended.outcome in ("answered", "failed"):  # a refusal's few milliseconds are nobody's wait
            self._latencies.append((ended.at, ended.latency_s))

    @property
    def objective_total(self) -> int:
        """How many jobs ever ended that the objective is about: answered, refused or failed."""
        return sum(self.totals[outcome].total() for outcome in _COUNTED)

    def attainment(self, now: float) -> float | None:
        """Return the share of the last minute's jobs, refused ones included, that got an image within the SLO.

        None without any. What clients cancelled or asked for wrongly does not count.
        """
        seconds = self._last_minute(now)
        counted = sum(n for second in seconds for (outcome, _), n in second.ended.items() if outcome in _COUNTED)
        return sum(second.in_time for second in seconds) / counted if counted else None

    def rates(self, now: float) -> dict[Outcome, dict[str, float]]:
        """Return jobs per second over the last minute, or since the first one, by outcome and how they ended."""
        ended: Counter[tuple[Outcome, str]] = Counter()
        for second in self._last_minute(now):
            ended.update(second.ended)
        span_s = min(WINDOW_S, max(1.0, now - (now if self._began is None else self._began)))
        rates: dict[Outcome, dict[str, float]] = {outcome: {} for outcome in OUTCOMES}
        for (outcome, how), count in sorted(ended.items()):
            rates[outcome][how] = count / span_s
        return rates

    def latency_s(self, now: float, *quantiles: float) -> list[float | None]:
        """Return quantiles (each 0 to 1) of the last minute's latencies, failures included; None without any."""
        while self._latencies and self._latencies[0][0] < now - WINDOW_S:
            self._latencies.popleft()
        rising = sorted(latency for _, latency in self._latencies)
        return [rising[min(len(rising) - 1, int(q * len(rising)))] if rising else None for q in quantiles]

    def _second(self, at: float) -> _Second:
        if self._began is None:
            self._began = at
        if not self._seconds or self._seconds[-1].at != int(at):
            self._seconds.append(_Second(int(at)))
        return self._seconds[-1]

    def _last_minute(self, now: float) -> list[_Second]:
        return [second for second in self._seconds if second.at > now - WINDOW_S - 1]
