"""The batches of each row of a table on GPUs that are ready, and the work that they are. Pure.

A row's batch is the smallest of those with nearly the most throughput that leave time to wait. It is the plan's, and a
largest one: on shared GPUs the light reserve lets smaller heavy ones begin (`reserve`), which are more work per image.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hadis.planning.placement import slowest_path_s
from hadis.planning.queueing import Array
from hadis.planning.reserve import oldest_done_s
from hadis.planning.table import Table
from hadis.planning.tuning import Tuning

_DEMAND_STEP = 1.05
"""Demands within this factor are taken to begin the same batches."""


class Begun(NamedTuple):
    """By row, what follows from the size of the heavy batches that begin as a rule."""

    heavy_work: Array
    """GPU seconds per request."""
    longest_s: Array
    """Seconds of the longer batch of the two tiers."""


class RowBatches:
    """Arrays by row: `light` and `heavy` are the indices of the batches among those of the table."""

    def __init__(self, table: Table, *, shared: bool, tuning: Tuning) -> None:
        """Choose the batches; `shared`: whether any GPU runs any tier."""
        self._table, self._shared, self._tuning = table, shared, tuning
        limit_s = (1 - tuning.wait_reserve) * table.slo_s
        defers = table.deferred_share > 0
        # The light batch counts as one image first, so that the heavy batch may be as large as the SLO allows.
        self._heavy_limit_s = limit_s - np.where(defers, table.light_longest_s[:, 0], 0.0)
        self.heavy, heavy_ok = self._choose(table.heavy_s, table.heavy_longest_s, self._heavy_limit_s)
        heavy_s = _of_batches(table.heavy_longest_s, self.heavy)
        after_s = np.where(defers, heavy_s, 0.0)
        self.light, light_ok = self._choose(table.light_s, table.light_longest_s, limit_s - after_s)
        uses_light, uses_heavy = table.light_share > 0, table.heavy_share > 0
        self.light_s = np.where(uses_light, _of_batches(table.light_longest_s, self.light), 0.0)
        self.heavy_s = np.where(uses_heavy, heavy_s, 0.0)
        self.possible = (light_ok | ~uses_light) & (heavy_ok | ~uses_heavy)
        """Whether both tiers' batches keep the SLO."""
        self.slowest_s = slowest_path_s(defers, self.light_s, self.heavy_s)
        """Seconds of the batches of the slowest path."""
        self.light_work = _work(table.light_share, table.light_s, self.light, table.batches)
        """GPU seconds per request; `heavy_work` likewise."""
        self.heavy_work = _work(table.heavy_share, table.heavy_s, self.heavy, table.batches)
        self._full = Begun(self.heavy_work, np.maximum(self.light_s, self.heavy_s))
        self._begun_at = lru_cache(maxsize=64)(self._begun)

    def begun(self, demand_rps: float) -> Begun:
        """Return what begins as a rule: full batches, but on shared GPUs what the light reserve lets begin."""
        if not self._shared or demand_rps <= 0:
            return self._full
        return self._begun_at(math.floor(math.log(demand_rps, _DEMAND_STEP)))

    def _begun(self, step: int) -> Begun:
        """Return what begins on shared GPUs at a step of the demand.

        The plan's batch is as ever: one that happens to be full is the best there is.
        """
        table = self._table
        rate_rps = _DEMAND_STEP**step * (table.heavy_share * table.heavy_alike)[:, None]
        done_s = oldest_done_s(table.heavy_longest_s, table.batches, rate_rps, table.heavy_first[:, None], table.slo_s)
        begun, _ = self._choose(table.heavy_s, done_s, self._heavy_limit_s)
        heavy_s = np.where(table.heavy_share > 0, _of_batches(table.heavy_longest_s, begun), 0.0)
        return Begun(_work(table.heavy_share, table.heavy_s, begun, table.batches), np.maximum(self.light_s, heavy_s))

    def _choose(self, seconds: Array, path_s: Array, limit_s: Array) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Return each row's batch index, the first where no batch's path is within its limit, and whether one is."""
        within = np.where(path_s <= limit_s[:, None], seconds / self._table.batches, np.inf)
        least = within.min(-1, keepdims=True)
        return (within <= least * self._tuning.near_best_batch).argmax(-1), np.isfinite(least[:, 0])


def _of_batches(seconds: Array, batches: NDArray[np.intp]) -> Array:
    """Return each row's seconds of a batch, by its index."""
    return np.asarray(np.take_along_axis(seconds, batches[:, None], 1)[:, 0])


def _work(share: Array, seconds: Array, batches: NDArray[np.intp], sizes: Array) -> Array:
    """Return each row's GPU seconds per request on a tier; 0 where it has no share of them."""
    return np.asarray(share * np.where(share > 0, _of_batches(seconds, batches), 0.0) / sizes[batches])
