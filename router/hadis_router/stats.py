"""What the router says about its last minute."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

WINDOW_S = 60.0
_MOST = 20_000


@dataclass(frozen=True, slots=True)
class Ended:
    """One job that ended: when (loop time), how, after how many seconds."""

    at: float
    how: str
    latency_s: float
    kept: bool


class Recent:
    """Ended jobs of the last minute, and how all of them ended."""

    def __init__(self) -> None:
        """Start empty."""
        self._ended: deque[Ended] = deque(maxlen=_MOST)
        self.answers: Counter[str] = Counter()

    def add(self, ended: Ended) -> None:
        """Take a job that ended."""
        self._ended.append(ended)
        self.answers[ended.how] += 1

    def attainment(self, now: float) -> float | None:
        """Return the share of the last minute's jobs that kept the SLO; None without any."""
        seen = self._last(now)
        return sum(e.kept for e in seen) / len(seen) if seen else None

    def latency_s(self, now: float, *quantiles: float) -> list[float | None]:
        """Return quantiles of the last minute's latencies."""
        seen = sorted(e.latency_s for e in self._last(now))
        return [seen[min(len(seen) - 1, int(q * len(seen)))] if seen else None for q in quantiles]

    def _last(self, now: float) -> list[Ended]:
        while self._ended and self._ended[0].at < now - WINDOW_S:
            self._ended.popleft()
        return list(self._ended)
