"""How long batches really take, beside what the profile says: learnt from those that ran, by tier, size and worker.

A batch's *ratio* is its measured time divided by the profile's. It is the product of what its tier takes (a driver, a
throttled GPU model, a neighbour on every machine), of its size's part in that, and of how its worker compares with its
peers, times noise. The last ratios of each tier and of each worker are kept; one is explained by the other in turn:

    tier's ratio at a size = mean over its window of ratio / worker's, batches of near sizes counting most
    worker's ratio         = mean over its window of ratio / tier's, drawn to 1 while there are few

and workers' ratios are scaled so that the middle worker has 1. Tiers that no worker has run both of, as those of
dedicated workers and of endpoints, say nothing of one another's workers: each such pool has a middle worker of its own.
Single outliers are clipped, and after a change the window is only what came since it began (see `speed_window`).

A tier of which little was seen takes after the others: what slows one down often slows all.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection
from functools import lru_cache
from typing import NamedTuple

from hadis_router.dispatch.speed_window import Band, BatchRatio, Window

_TIER_WINDOW, _WORKER_WINDOW = 64, 24
_PRIOR = 2.0
"""Batches of ratio 1 that a worker starts with."""
_NEWS = 8
"""Batches that must be new before means are worked out anew, which costs more than all else of a batch. Where windows
are not full they are fewer, by as much.
"""
_KIN = 1.0
"""Batches, of the very size that is asked for, that the other tiers count as."""


class _Sums(NamedTuple):
    """What a tier's batches add up to."""

    by_size: dict[int, tuple[float, int]]
    """By batch size: the sum of ratios, drawn into the band, and how many they are."""
    band: Band


_NOTHING = _Sums({}, Band(0.0, math.inf))


class Speeds:
    """Ratios by tier, batch size and worker."""

    def __init__(self, alone: Collection[str] = ()) -> None:
        """Start by believing the profile; tiers that are `alone`, as an endpoint's, say nothing of others."""
        self._alone = alone
        self._tiers: dict[str, Window] = {}
        self._workers: dict[str, Window] = {}
        self._worker_levels: dict[str, float] = {}
        """Each worker's ratio times the level of all tiers at that time: it says the same whenever it was learnt."""
        self._pools: dict[str, int] = {}
        """By tier: tiers of one number are joined by workers that ran both."""
        self._middles: dict[int, float] = {}
        """By pool: the level of the middle worker."""
        self._cache: dict[tuple[str, int], float] = {}
        self._sums: dict[str, _Sums] = {}
        self._worker_ratios: dict[str, float] = {}
        self._ran: list[str] = []
        """The workers of the batches that nothing was made of yet."""

    def learn(self, worker: str, tier: str, batch: int, ratio: float) -> None:
        """Take a batch that took `ratio` (over 0) times the profile's time."""
        seen = BatchRatio(worker, tier, batch, ratio)
        expected = self.tier_ratio(tier, batch) * self.worker_ratio(worker)
        of_tier = self._tiers.setdefault(tier, Window(_TIER_WINDOW))
        of_worker = self._workers.setdefault(worker, Window(_WORKER_WINDOW))
        of_tier.add(seen, expected)
        of_worker.add(seen, expected)
        self._ran.append(worker)
        joined = self._join({each.tier for each in of_worker.seen})
        if joined or len(self._ran) >= _NEWS * min(of_tier.fill, of_worker.fill):
            self._follow()

    def _follow(self) -> None:
        """Work out anew what the batches say of their tiers and of the workers that ran."""
        self._forget_means()
        ran = dict.fromkeys(self._ran)
        self._ran.clear()
        for worker in ran:
            pool = self._pool_of(worker)
            level = self._level(pool)
            self._worker_levels[worker] = level * self._mean_of_worker(worker, self._middles.get(pool, level) / level)
        for pool in {self._pool_of(worker) for worker in ran}:
            rising = sorted(each for name, each in self._worker_levels.items() if self._pool_of(name) == pool)
            # The lower middle: of two workers, the fast one is as the profile says.
            self._middles[pool] = rising[(len(rising) - 1) // 2]
        self._forget_means()

    def keep(self, workers: set[str]) -> None:
        """Forget all workers but these; what the others' batches say of their tiers stays."""
        gone = set(self._workers) - workers
        for window in self._tiers.values() if gone else ():
            # Freed of its worker's ratio, which is not known any more from now on.
            freed = (each._replace(ratio=each.ratio / self.worker_ratio(each.worker)) for each in window.seen)
            window.seen = deque(
                (new if old.worker in gone else old for old, new in zip(window.seen, freed, strict=True)),
                window.seen.maxlen,
            )
        for worker in gone:
            del self._workers[worker], self._worker_levels[worker]
        self._ran = [worker for worker in self._ran if worker in workers]
        self._forget_means()

    def knows(self, worker: str) -> bool:
        """Return whether any batch of a worker was seen."""
        return worker in self._workers

    def batches(self, tier: str) -> int:
        """Return how many batches of a tier what is known of it comes from."""
        return len(self._tiers[tier].seen) if tier in self._tiers else 0

    def tier_ratio(self, tier: str, batch: int) -> float:
        """Return the ratio of a batch of a tier on the middle worker; 1 where nothing was learnt at all."""
        key = tier, batch
        if key not in self._cache:
            kin = [_mean_at(batch, self._sums_of(other)) for other in self._kin(tier)]
            prior = sum(kin) / len(kin) if kin else 1.0
            own = self._sums_of(tier) if tier in self._tiers else _NOTHING
            self._cache[key] = _mean_at(batch, own, own.band.draw_in(prior), _KIN)
        return self._cache[key]

    def worker_ratio(self, worker: str) -> float:
        """Return a worker's ratio to the middle worker; 1 where nothing was learnt."""
        ratio = self._worker_ratios.get(worker)
        if ratio is None:
            level = self._worker_levels.get(worker)
            ratio = 1.0 if level is None else level / self._middles.get(self._pool_of(worker), level)
            self._worker_ratios[worker] = ratio
        return ratio

    def _join(self, tiers: set[str]) -> bool:
        """Make one pool of the tiers that a worker has run; return whether they were not yet."""
        pools = {self._pools.get(tier) for tier in tiers}
        if len(pools) == 1 and None not in pools:
            return False
        pool = min((each for each in pools if each is not None), default=len(self._pools))
        for tier in [*tiers, *(tier for tier, each in self._pools.items() if each in pools)]:
            self._pools[tier] = pool
        return True

    def _pool_of(self, worker: str) -> int:
        return self._pools[self._workers[worker].seen[-1].tier]

    def _tiers_of(self, pool: int) -> list[str]:
        return [tier for tier in self._tiers if self._pools[tier] == pool]

    def _kin(self, tier: str) -> list[str]:
        """Return the tiers that a tier takes after: all, for one that has not run, as its workers are not known."""
        if tier in self._alone:
            return []
        known = self._tiers_of(self._pools[tier]) if tier in self._pools else self._tiers
        return [other for other in known if other != tier and other not in self._alone]

    def _sums_of(self, tier: str) -> _Sums:
        """Return the sums of the ratios of a tier's batches, freed of their workers'."""
        if tier not in self._sums:
            seen = self._tiers[tier].seen
            of_worker = {worker: self.worker_ratio(worker) for worker in {each.worker for each in seen}}
            freed = [(each.batch, each.ratio / of_worker[each.worker]) for each in seen]
            band = Band.around(ratio for _, ratio in freed)
            by_size: dict[int, tuple[float, int]] = {}
            for size, ratio in freed:
                total, count = by_size.get(size, (0.0, 0))
                by_size[size] = total + band.draw_in(ratio), count + 1
            self._sums[tier] = _Sums(by_size, band)
        return self._sums[tier]

    def _level(self, pool: int) -> float:
        """Return the geometric mean of the ratios of a pool's tiers.

        Only the worker that ran is looked at again. Were it set beside the others by its ratio alone, then what the
        tiers' ratios have moved since they ran would be taken for a difference between workers, and move them again.
        """
        tiers = self._tiers_of(pool)
        return math.exp(sum(self._log_ratio(tier) for tier in tiers) / len(tiers))

    def _log_ratio(self, tier: str) -> float:
        """Return the mean logarithm of a tier's ratios at the sizes of its batches."""
        counts = {size: count for size, (_, count) in self._sums_of(tier).by_size.items()}
        logs = (count * math.log(self.tier_ratio(tier, size)) for size, count in counts.items())
        return sum(logs) / sum(counts.values())

    def _mean_of_worker(self, worker: str, prior: float) -> float:
        ratios = [each.ratio / self.tier_ratio(each.tier, each.batch) for each in self._workers[worker].seen]
        band = Band.around(ratios)
        drawn = sum(map(band.draw_in, ratios)) + _PRIOR * band.draw_in(prior)
        return drawn / (len(ratios) + _PRIOR)

    def _forget_means(self) -> None:
        for each in (self._cache, self._sums, self._worker_ratios):
            each.clear()


@lru_cache(maxsize=4096)
def _nearness(batch: int, other: int) -> float:
    """Return how much a batch says of one of another size: each doubling between them halves it."""
    return float(2.0 ** -abs(math.log2(batch / other)))


def _mean_at(batch: int, sums: _Sums, prior: float = 0.0, weight: float = 0.0) -> float:
    """Return the mean ratio at a batch size, batches of near sizes counting most, and a prior as much as it weighs."""
    drawn, weights = prior * weight, weight
    for size, (total, count) in sums.by_size.items():
        nearness = _nearness(size, batch)
        drawn += nearness * total
        weights += nearness * count
    return drawn / weights
