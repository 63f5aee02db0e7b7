"""The measured table as arrays, and which of its rows fit a demand on a number of GPUs. Used by `solve` alone.

Two placements: dedicated GPUs wait in a queue a tier, so that a row needs a split of the GPUs; shared GPUs run
whichever tier is due, so that a row needs one pool in which batches of both tiers wait alike.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hadis.planning.queueing import Array, tail_of_each, wait_quantile_s

if TYPE_CHECKING:
    from hadis.planning.profile import Profile

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Fit:
    """A row with the counts and batch sizes at which it fits."""

    row: int
    light_count: int
    heavy_count: int
    light_batch: int
    heavy_batch: int
    light_latency_s: float
    heavy_latency_s: float


class Table:
    """Rows (light, heavy, direct ratio, deferral ratio, quality) of a profile, with each tier's batch times."""

    def __init__(self, profile: Profile, slo_s: float, late: float, *, shared: bool, refine: int) -> None:
        """Keep the times of batches that are within the SLO by themselves; the others are never worth a plan."""
        self.names = list(profile.tiers)
        self._slo_s, self._late, self._shared = slo_s, late, shared
        rows = np.array(list(refined(profile, self.names, refine)))
        self.light, self.heavy = rows[:, 0].astype(int), rows[:, 1].astype(int)
        self.direct, self.deferral, self.quality = rows[:, 2], rows[:, 3], rows[:, 4]
        self._index = {key: i for i, key in enumerate(map(tuple, np.round(rows[:, :4], 6).tolist()))}
        pair = self.light != self.heavy
        # Shares of the requests that each tier serves (the paper's section 4.2); a single tier counts as light.
        self.light_share = np.where(pair, 1 - self.direct, 1.0)
        self.deferred = np.where(pair, (1 - self.direct) * self.deferral, 0.0)
        self.heavy_share = np.where(pair, self.direct + self.deferred, 0.0)
        self._tail = tail_of_each(late, self.deferred)
        sizes = sorted({b for name in self.names for b in profile.batch_sizes(name)})
        self.batches = np.array(sizes, float)
        # seconds[discriminated, tier, batch]
        self._seconds = np.full((2, len(self.names), len(sizes)), np.inf)
        for t, name in enumerate(self.names):
            for b in profile.batch_sizes(name):
                for judged in (0, 1):
                    self._seconds[judged, t, sizes.index(b)] = profile.latency_s(name, b, bool(judged))
        self.light_s = self._seconds[pair.astype(int), self.light]
        self.heavy_s = self._seconds[0, self.heavy]
        usable = np.where(self._seconds <= slo_s, self._seconds / self.batches, np.inf).min(-1)
        self._light_least = usable[pair.astype(int), self.light]
        self._heavy_least = usable[0, self.heavy]

    @property
    def shortest_service_s(self) -> float:
        """Seconds of the quickest tier's batch of one."""
        return float(self._seconds[0].min())

    @cached_property
    def by_quality(self) -> Rows:
        """Rows from the best to the worst."""
        return np.argsort(self.quality, kind="stable")

    def row(self, i: int) -> tuple[str, str, float, float, float]:
        """Return the names, ratios and quality of a row."""
        ratios = float(self.direct[i]), float(self.deferral[i]), float(self.quality[i])
        return self.names[self.light[i]], self.names[self.heavy[i]], *ratios

    def find(self, light: str, heavy: str, direct: float, deferral: float) -> int | None:
        """Return the row of a configuration, if it is in the table."""
        if light not in self.names or heavy not in self.names:
            return None
        key = (self.names.index(light), self.names.index(heavy), round(direct, 6), round(deferral, 6))
        return self._index.get(key)

    def could_fit(self, rows: Rows, demand_rps: float, gpus: int) -> NDArray[np.bool_]:
        """Return which rows keep up with full batches and no waiting: a condition that fitting rows meet."""
        light, heavy = self._load(rows, demand_rps)
        if self._shared:
            return np.asarray((light + heavy < gpus) & (gpus > 0))
        whole = [
            np.where(share[rows] > 0, np.maximum(np.ceil(load), 1), 0)
            for share, load in ((self.light_share, light), (self.heavy_share, heavy))
        ]
        return np.asarray(whole[0] + whole[1] <= gpus)

    def quickest(self, demand_rps: float) -> int:
        """Return the row that takes the fewest GPU seconds a request, of those that keep the SLO if there is one."""
        rows = np.arange(len(self.quality))
        for seconds in (self._load(rows, 1.0), self._plain_load()):
            load = seconds[0] + seconds[1]
            if np.isfinite(load).any():
                return int(np.lexsort((self.quality, load))[0])
        raise AssertionError("a profile has at least one measured batch")

    def fits(self, rows: Rows, demand_rps: float, gpus: int) -> NDArray[np.bool_]:
        """Return which rows keep up and meet the SLO for the asked share of requests on this many GPUs."""
        if gpus <= 0 or not len(rows):
            return np.zeros(len(rows), bool)
        if self._shared:
            return np.asarray(self._shared_ok(rows, demand_rps, np.array([gpus]))[0].any((1, 2, 3)))
        light, heavy = self._dedicated_s(rows, demand_rps, gpus)
        light, heavy = light.min(-1), heavy.min(-1)
        return np.asarray(self._within(rows, light, heavy[:, ::-1]).any(1))

    def fewest(self, row: int, demand_rps: float, gpus: int, min_gpus: int) -> Fit:
        """Return the fewest GPUs (`min_gpus` or more) at which a row fits that fits `gpus`, the quickest such way."""
        rows = np.array([row])
        if self._shared:
            return self._fewest_shared(row, demand_rps, gpus, min_gpus)
        light, heavy = self._dedicated_s(rows, demand_rps, gpus)
        best = light.min(-1)[0][:, None], heavy.min(-1)[0][None, :]
        ok = self._within(rows, *best)
        counts = np.add.outer(np.arange(gpus + 1), np.arange(gpus + 1))
        ok &= (counts <= gpus) & (counts >= min_gpus)
        slowest = np.where(self.deferred[row] > 0, best[0] + best[1], np.maximum(*best))
        order = np.where(ok, counts + 1e-6 * np.minimum(slowest, 1e3) / 1e3, np.inf)
        nl, nh = np.unravel_index(int(np.argmin(order)), order.shape)
        return self._fit(row, int(nl), int(nh), int(light[0, nl].argmin()), int(heavy[0, nh].argmin()),
                         float(best[0][nl, 0]), float(best[1][0, nh]))  # fmt: skip

    def whatever(self, row: int, demand_rps: float, gpus: int) -> Fit:
        """Return a row on all GPUs at the batch sizes of most throughput, whether it fits or not."""
        rows = np.array([row])
        light, heavy = (float(x[0]) for x in self._plain_load(rows))
        share = light / (light + heavy) if light + heavy else 1.0
        nl = min(gpus, max(int(light > 0), round(gpus * share)))
        bl, bh = (self._best_batch(seconds[row]) for seconds in (self.light_s, self.heavy_s))
        return self._fit(row, nl, gpus - nl, bl, bh, float(self.light_s[row, bl]), float(self.heavy_s[row, bh]))

    def _best_batch(self, seconds: Array) -> int:
        """Return the batch of most throughput, among those within the SLO if there are any."""
        within = np.where(seconds <= self._slo_s, seconds / self.batches, np.inf)
        return int((within if np.isfinite(within).any() else seconds / self.batches).argmin())

    def _fit(self, row: int, nl: int, nh: int, bl: int, bh: int, light_s: float, heavy_s: float) -> Fit:
        light_s = light_s if nl else 0.0
        slowest = heavy_s + (light_s if self.deferred[row] > 0 else 0.0) if nh else light_s
        return Fit(row, nl, nh, int(self.batches[bl]), int(self.batches[bh]), light_s, slowest)

    def _load(self, rows: Rows, demand_rps: float) -> tuple[Array, Array]:
        """Return the busy GPUs of light and heavy at full batches within the SLO."""
        with np.errstate(invalid="ignore"):
            loads = (
                np.where(share[rows] > 0, demand_rps * share[rows] * least[rows], 0.0)
                for share, least in ((self.light_share, self._light_least), (self.heavy_share, self._heavy_least))
            )
            light, heavy = (np.nan_to_num(load, nan=np.inf, posinf=np.inf) for load in loads)
        return light, heavy

    def _plain_load(self, rows: Rows | slice = slice(None)) -> tuple[Array, Array]:
        """Return the GPU seconds a request of light and heavy at their best batch, the SLO aside."""
        light = self.light_share[rows] * (self.light_s[rows] / self.batches).min(-1)
        return light, self.heavy_share[rows] * (self.heavy_s[rows] / self.batches).min(-1)

    def _within(self, rows: Rows, light_s: Array, heavy_s: Array) -> NDArray[np.bool_]:
        """Return where every path of a row that is taken at all is within the SLO."""
        shape = (-1, *([1] * (light_s.ndim - 1))) if len(rows) > 1 or light_s.shape[0] == 1 else (1, 1)
        deferred = self.deferred[rows].reshape(shape) > 0
        return np.where(deferred, light_s + heavy_s, np.maximum(light_s, heavy_s)) <= self._slo_s

    def _dedicated_s(self, rows: Rows, demand_rps: float, gpus: int) -> tuple[Array, Array]:
        """Return latencies (rows, 0..gpus, batches) of light and heavy; an unused tier takes 0 on 0 GPUs."""
        counts = np.arange(gpus + 1.0)[None, :, None]
        found = []
        for share, seconds in ((self.light_share, self.light_s), (self.heavy_share, self.heavy_s)):
            part, service = share[rows, None, None], seconds[rows][:, None, :]
            with np.errstate(divide="ignore", invalid="ignore"):
                util = demand_rps * part * service / (counts * self.batches)
            wait = wait_quantile_s(np.nan_to_num(util, nan=np.inf), counts, service, 0.0, self._tail[rows, None, None])
            found.append(np.where(part > 0, service + wait, 0.0))
        return found[0], found[1]

    def _shared_ok(self, rows: Rows, demand_rps: float, gpus: NDArray[np.intp]) -> tuple[NDArray[np.bool_], Array]:
        """Return where (rows, gpus, light batches, heavy batches) a row fits a pool, and the slowest path's seconds."""
        light, heavy = self.light_s[rows][:, None, :, None], self.heavy_s[rows][:, None, None, :]
        uses = (self.light_share[rows, None, None, None], self.heavy_share[rows, None, None, None])
        light, heavy = np.where(uses[0] > 0, light, 0.0), np.where(uses[1] > 0, heavy, 0.0)
        flows = uses[0] / self.batches[:, None], uses[1] / self.batches
        with np.errstate(invalid="ignore"):
            work = flows[0] * light + flows[1] * heavy
            flow = flows[0] + flows[1]
            mean = work / flow
            scv = (flows[0] * light**2 + flows[1] * heavy**2) / flow / mean**2 - 1
            count = gpus[None, :, None, None].astype(float)
            wait = wait_quantile_s(demand_rps * work / count, count, mean, scv, self._tail[rows, None, None, None])
            slowest = np.where(
                self.deferred[rows, None, None, None] > 0, light + heavy + 2 * wait, np.maximum(light, heavy) + wait
            )
        return slowest <= self._slo_s, slowest

    def _fewest_shared(self, row: int, demand_rps: float, gpus: int, min_gpus: int) -> Fit:
        counts = np.arange(max(1, min_gpus), max(1, gpus) + 1)
        ok, slowest = self._shared_ok(np.array([row]), demand_rps, counts)
        order = np.where(ok[0], counts[:, None, None] + 1e-6 * np.minimum(slowest[0], 1e3) / 1e3, np.inf)
        n, bl, bh = np.unravel_index(int(np.argmin(order)), order.shape)
        total = int(counts[n])
        light = self.light_share[row] * self.light_s[row, bl] / self.batches[bl]
        heavy = self.heavy_share[row] * self.heavy_s[row, bh] / self.batches[bh]
        # How many may run a tier at one time: by its part of the work, and each tier that is used at least one.
        nl = round(total * light / (light + heavy)) if heavy else total
        nl = min(max(nl, int(light > 0)), total - int(heavy > 0 and total > 1))
        slow, light_s = float(slowest[0, n, bl, bh]), float(self.light_s[row, bl]) * (light > 0)
        heavy_s = float(self.heavy_s[row, bh]) * (heavy > 0)
        wait = (slow - light_s - heavy_s) / 2 if self.deferred[row] > 0 else slow - max(light_s, heavy_s)
        sizes = int(self.batches[bl]), int(self.batches[bh])
        return Fit(row, nl, total - nl, *sizes, light_s + wait if light > 0 else 0.0, slow)


@lru_cache(maxsize=64)
def shared_table(profile: Profile, slo_s: float, late: float, *, shared: bool, refine: int) -> Table:
    """Return a table that all services with the same profile and objective use: it holds megabytes, and no state."""
    return Table(profile, slo_s, late, shared=shared, refine=refine)


def refined(profile: Profile, names: list[str], refine: int) -> list[tuple[int, int, float, float, float]]:
    """Return the rows (light, heavy, direct, deferral, quality), with `refine` steps in each cell of a full grid."""
    rows: dict[tuple[int, int], dict[tuple[float, float], float]] = {}
    for c in profile.configurations:
        pair = rows.setdefault((names.index(c.light), names.index(c.heavy)), {})
        at = (c.direct_ratio, c.deferral_ratio)
        pair[at] = min(c.quality, pair.get(at, math.inf))
    found = []
    for (light, heavy), points in rows.items():
        direct, deferral = (sorted({p[i] for p in points}) for i in (0, 1))
        if refine > 1 and len(points) == len(direct) * len(deferral) > 1:
            points = _bilinear(direct, deferral, points, refine)
        found += [(light, heavy, x, y, q) for (x, y), q in points.items()]
    return found


def _bilinear(
    direct: list[float], deferral: list[float], points: dict[tuple[float, float], float], refine: int
) -> dict[tuple[float, float], float]:
    grid = np.array([[points[x, y] for y in deferral] for x in direct])
    xs, ys = _finer(direct, refine), _finer(deferral, refine)
    across = np.array([np.interp(ys, deferral, line) for line in grid])
    full = np.array([np.interp(xs, direct, column) for column in across.T]).T
    return {
        (round(x, 6), round(y, 6)): float(full[i, j])
        for (i, x), (j, y) in itertools.product(enumerate(xs.tolist()), enumerate(ys.tolist()))
    }


def _finer(values: list[float], refine: int) -> Array:
    if len(values) < 2:
        return np.array(values)
    return np.interp(np.arange((len(values) - 1) * refine + 1) / refine, np.arange(len(values)), values)
