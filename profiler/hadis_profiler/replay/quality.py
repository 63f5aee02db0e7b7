"""What a replay achieved: quality from what was done, and the objective's violations.

Quality is read off the profile's table: in blocks of consecutive arrivals, and for each cascade in a block, at the
direct and deferral shares that were realised (bilinear between measured rows). A violation is an answer later than
the SLO, or none.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from hadis.planning.profile import Profile
from numpy.typing import NDArray

from hadis_profiler.replay.simulate import Outcome

BLOCK = 200
_STEP = math.log(1.001)
"""Latencies are counted in steps of 0.1%."""
Array = NDArray[np.float64]


@dataclass
class Served:
    """How many requests of a client or a size there were, were answered in time, and were refused at once."""

    requests: int = 0
    in_time: int = 0
    refused: int = 0

    def add(self, *, in_time: bool, refused: bool) -> None:
        """Count one."""
        self.requests += 1
        self.in_time += in_time
        self.refused += refused


@dataclass(frozen=True)
class Summary:
    """A replay in numbers; latencies in seconds, shares from 0 to 1."""

    requests: int
    quality: float
    violations: float
    unanswered: float
    p50_s: float
    p99_s: float
    paths: dict[str, int]
    clients: dict[str, Served]
    sizes: dict[str, Served]


_Pair = tuple[str, str, bool]
"""Light and heavy tier, and whether the better of two images is kept."""


class Grid:
    """Quality of any ratios of a profile's cascades."""

    def __init__(self, profile: Profile) -> None:
        """Keep the measured rows by pair."""
        self._rows: dict[_Pair, dict[tuple[float, float], float]] = defaultdict(dict)
        for c in profile.configurations:
            self._rows[c.light, c.heavy, c.best_of_two][c.direct_ratio, c.deferral_ratio] = c.quality

    def quality(self, light: str, heavy: str, direct: float, deferral: float, *, best_of_two: bool = False) -> float:
        """Return the quality between the measured rows; NaN for a pair that was not measured on a full grid."""
        if light == heavy:
            return self._rows.get((light, heavy, False), {}).get((0.0, 0.0), float("nan"))
        xs, ys, table = self._tables.get((light, heavy, best_of_two), (None, None, None))
        if xs is None or ys is None or table is None:
            return float("nan")
        across = [np.interp(deferral, ys, line) for line in table]
        return float(np.interp(direct, xs, across))

    @cached_property
    def _tables(self) -> dict[_Pair, tuple[Array, Array, Array]]:
        tables: dict[_Pair, tuple[Array, Array, Array]] = {}
        for pair, rows in self._rows.items():
            xs, ys = (sorted({key[i] for key in rows}) for i in (0, 1))
            if len(xs) * len(ys) == len(rows):
                tables[pair] = np.array(xs), np.array(ys), np.array([[rows[x, y] for y in ys] for x in xs])
        return tables


class OutcomeTally:
    """Takes outcomes one by one, in bounded memory."""

    def __init__(self, profile: Profile, slo_s: float, block: int = BLOCK) -> None:
        """Start empty. Outcomes come as requests end; blocks are of arrivals, so a few blocks are open at a time."""
        self._grid, self._slo_s, self._block = Grid(profile), slo_s, block
        self._latencies: Counter[int] = Counter()
        self._waiting: list[Outcome] = []
        self._paths: Counter[str] = Counter()
        self._clients: defaultdict[str, Served] = defaultdict(Served)
        self._sizes: defaultdict[str, Served] = defaultdict(Served)
        self._quality, self._weight, self._late, self._never, self._count = 0.0, 0, 0, 0, 0

    def add(self, outcome: Outcome) -> None:
        """Take one."""
        self._count += 1
        self._paths[outcome.how] += 1
        self._waiting.append(outcome)
        late = False
        if outcome.answered_s is None:
            self._never += 1
        else:
            latency = outcome.answered_s - outcome.arrival_s
            self._latencies[round(math.log(max(latency, 1e-6)) / _STEP)] += 1
            late = latency > self._slo_s + 1e-9
            self._late += late
        in_time, refused = outcome.answered_s is not None and not late, outcome.answered_s is None and not outcome.first
        for served in (self._clients[outcome.client], self._sizes[outcome.size]):
            served.add(in_time=in_time, refused=refused)
        if len(self._waiting) >= 64 * self._block:
            self._close(32)

    def summary(self) -> Summary:
        """Return the numbers; add no more after."""
        self._close(None)
        n = max(1, self._count)
        return Summary(
            self._count,
            self._quality / self._weight if self._weight else float("nan"),
            (self._late + self._never) / n,
            self._never / n,
            self._quantile(0.5),
            self._quantile(0.99),
            dict(self._paths),
            dict(sorted(self._clients.items())),
            dict(sorted(self._sizes.items())),
        )

    def _quantile(self, q: float) -> float:
        """Return the latency that a share `q` of the answers keep; NaN without answers."""
        left = q * self._latencies.total()
        for step, count in sorted(self._latencies.items()):
            left -= count
            if left <= 0:
                return math.exp(step * _STEP)
        return float("nan")

    def _close(self, blocks: int | None) -> None:
        """Count the earliest blocks; those that end this much later than others began are complete."""
        self._waiting.sort(key=lambda o: o.arrival_s)
        size = len(self._waiting) if blocks is None else blocks * self._block
        done, self._waiting = self._waiting[:size], self._waiting[size:]
        for start in range(0, len(done), self._block):
            cascades = defaultdict(list)
            for o in done[start : start + self._block]:
                if o.answered_s is not None:
                    cascades[o.light, o.heavy].append(o)
            for (light, heavy), some in cascades.items():
                direct = sum(o.first == heavy for o in some)
                rest = len(some) - direct
                deferred = [o for o in some if o.first != heavy and o.final == heavy]
                ratios = direct / len(some), len(deferred) / rest if rest else 0.0
                # A block under two plans may have both ways of deferral.
                for best_of_two, count in Counter(o.best_of_two for o in deferred or some).items():
                    of_way = len(some) * count / len(deferred or some)
                    quality = self._grid.quality(light, heavy, *ratios, best_of_two=best_of_two)
                    self._quality += of_way * quality
                self._weight += len(some)
