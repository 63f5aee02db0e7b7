"""Statistics of the jobs that ended in the last minute, for the status."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

WINDOW_S = 60.0
_MOST = 20_000


@dataclass(frozen=True, slots=True)
class EndedJob:
    """One job that ended: when (loop time), how, after how many seconds, and whether with an image in time."""

    at: float
    how: str
    """The path of its answer, or its error's code."""
    latency_s: float
    within_slo: bool


class RecentJobs:
    """Jobs that ended in the last minute, and how many ever ended which way."""

    def __init__(self) -> None:
        """Start empty."""
        self._ended: deque[EndedJob] = deque(maxlen=_MOST)
        self.answers: Counter[str] = Counter()

    def add(self, ended: EndedJob) -> None:
        """Take a job that ended."""
        self._ended.append(ended)
        self.answers[ended.how] += 1

    def attainment(self, now: float) -> float | None:
        """Return the share of the last minute's jobs that were answered within the SLO; None without any."""
        recent = self._last_minute(now)
        return sum(job.within_slo for job in recent) / len(recent) if recent else None

    def latency_s(self, now: float, *quantiles: float) -> list[float | None]:
        """Return quantiles (each 0 to 1) of the last minute's latencies, failures included; None without any."""
        rising = sorted(job.latency_s for job in self._last_minute(now))
        return [rising[min(len(rising) - 1, int(q * len(rising)))] if rising else None for q in quantiles]

    def _last_minute(self, now: float) -> list[EndedJob]:
        while self._ended and self._ended[0].at < now - WINDOW_S:
            self._ended.popleft()
        return list(self._ended)
