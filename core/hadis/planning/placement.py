"""Which rows are feasible on a number of GPUs, and on how few, in each of the two placements.

Dedicated GPUs wait in a queue per tier, so that a row needs a split of the GPUs; shared GPUs run whichever tier is
due, so that a row needs one pool in which batches of both tiers wait alike. A remote tier is as a dedicated one whose
servers are given and are no GPUs: whichever the placement, it has a queue of its own beside the GPUs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hadis.planning.allocation import Allocation
from hadis.planning.queueing import Array, wait_quantile_s, wait_tail
from hadis.planning.table import Rows, Table

Mask = NDArray[np.bool_]
MOST_GPUS = 4096
"""GPUs up to which it is searched how many are needed."""


class Placement(ABC):
    """The rows of a table on GPUs of one placement."""

    def __init__(self, table: Table, late_share: float) -> None:
        """At most `late_share` of the requests may miss the table's SLO."""
        self.table = table
        self._tail = wait_tail(late_share, table.deferred_share)
        self._deferred = table.deferred_share > 0

    @abstractmethod
    def has_capacity(self, rows: Rows, demand_rps: float, gpus: int) -> Mask:
        """Return which rows keep up with full batches and no waiting: cheap, and true of every feasible row."""

    def feasible(self, rows: Rows, demand_rps: float, gpus: int) -> Mask:
        """Return which rows keep up and meet the SLO for the asked share of requests on this many GPUs."""
        if not len(rows) or (gpus <= 0 and not self.table.slots.any()):
            return np.zeros(len(rows), bool)
        return self._feasible(rows, demand_rps, max(0, gpus))

    @abstractmethod
    def _feasible(self, rows: Rows, demand_rps: float, gpus: int) -> Mask: ...

    @abstractmethod
    def fewest_gpus(self, row: int, demand_rps: float, gpus: int, min_gpus: int) -> Allocation:
        """Return the fewest GPUs, `min_gpus` or more, on which a row is feasible that is feasible on `gpus`.

        Of the ways to use that many, it is the one of least latency.
        """

    def most_throughput(self, row: int, gpus: int) -> Allocation:
        """Return a row on all GPUs in the batches of most throughput, whether that is feasible or not."""
        table = self.table
        light, heavy = (float(load[0]) for load in table.load_without_slo(np.array([row])))
        light, heavy = light * (table.light_slots[row] == 0), heavy * (table.heavy_slots[row] == 0)
        share = light / (light + heavy) if light + heavy else float(table.light_slots[row] == 0)
        light_count = min(gpus, max(int(light > 0), round(gpus * share)))
        longest = table.light_longest_s[row], table.heavy_longest_s[row]
        batches = table.best_batch(table.light_s[row], longest[0]), table.best_batch(table.heavy_s[row], longest[1])
        times = float(longest[0][batches[0]]), float(longest[1][batches[1]])
        return self._allocation(row, (light_count, gpus - light_count), batches, times)

    def _allocation(
        self, row: int, counts: tuple[int, int], batches: tuple[int, int], seconds: tuple[float, float]
    ) -> Allocation:
        """`counts` are GPUs, `batches` indices of the table's, `seconds` those of each tier alone, waiting included."""
        slots = int(self.table.light_slots[row]), int(self.table.heavy_slots[row])
        gpus = sum(count for count, given in zip(counts, slots, strict=True) if not given)
        counts = slots[0] or counts[0], slots[1] or counts[1]
        light_s = seconds[0] if counts[0] else 0.0
        slowest_s = seconds[1] + (light_s if self._deferred[row] else 0.0) if counts[1] else light_s
        sizes = int(self.table.batches[batches[0]]), int(self.table.batches[batches[1]])
        return Allocation(row, gpus, *counts, *sizes, light_s, slowest_s)


class Dedicated(Placement):
    """Each GPU runs one tier."""

    def has_capacity(self, rows: Rows, demand_rps: float, gpus: int) -> Mask:
        """Count whole GPUs by tier; a remote tier takes none, but has no more slots than it has."""
        table = self.table
        loads = table.load(rows, demand_rps)
        needed = np.zeros(len(rows))
        for share, slots, load in zip(
            (table.light_share, table.heavy_share), (table.light_slots, table.heavy_slots), loads, strict=True
        ):
            by_endpoint = np.where(load <= slots[rows], 0, np.inf)
            needed += np.where(slots[rows] > 0, by_endpoint, np.where(share[rows] > 0, np.maximum(np.ceil(load), 1), 0))
        return np.asarray(needed <= gpus)

    def _feasible(self, rows: Rows, demand_rps: float, gpus: int) -> Mask:
        light, heavy = (latency.min(-1) for latency in self._latencies_s(rows, demand_rps, gpus))
        slowest = slowest_path_s(self._deferred[rows, None], light, heavy[:, ::-1])
        return np.asarray((slowest <= self.table.slo_s).any(1))

    def fewest_gpus(self, row: int, demand_rps: float, gpus: int, min_gpus: int) -> Allocation:
        """Compare all pairs of counts."""
        light, heavy = (latency[0] for latency in self._latencies_s(np.array([row]), demand_rps, gpus))
        slowest = slowest_path_s(self._deferred[row], light.min(-1)[:, None], heavy.min(-1)[None, :])
        counts = np.add.outer(np.arange(gpus + 1), np.arange(gpus + 1))
        allowed = (slowest <= self.table.slo_s) & (counts <= gpus) & (counts >= min_gpus)
        # A tier that the row does not use gets none, for a plan of one tier has no place for another's; a remote one
        # takes none.
        allowed[1:] &= bool(self.table.light_share[row] > 0 and self.table.light_slots[row] == 0)
        allowed[:, 1:] &= bool(self.table.heavy_share[row] > 0 and self.table.heavy_slots[row] == 0)
        order = np.where(allowed, _fewest_then_fastest(counts, slowest), np.inf)
        n, m = (int(i) for i in np.unravel_index(int(np.argmin(order)), order.shape))
        batches = int(light[n].argmin()), int(heavy[m].argmin())
        return self._allocation(row, (n, m), batches, (float(light[n].min()), float(heavy[m].min())))

    def _latencies_s(self, rows: Rows, demand_rps: float, gpus: int) -> tuple[Array, Array]:
        """Return latencies (rows, 0..gpus, batches) of light and heavy.

        An unused tier takes 0 on any number of GPUs, a remote one what it takes on its slots.
        """
        table, gpu_counts = self.table, np.arange(gpus + 1.0)[None, :, None]
        tail = self._tail[rows, None, None]
        latencies = []
        for shares, seconds, longest, slots in (
            (table.light_share, table.light_s, table.light_longest_s, table.light_slots),
            (table.heavy_share, table.heavy_s, table.heavy_longest_s, table.heavy_slots),
        ):
            share, service = shares[rows, None, None], seconds[rows][:, None, :]
            given = slots[rows, None, None]
            counts = np.where(given > 0, given, gpu_counts) if given.any() else gpu_counts
            with np.errstate(divide="ignore", invalid="ignore"):
                util = demand_rps * share * service / (counts * table.batches)
            util[np.isnan(util)] = np.inf
            wait = wait_quantile_s(util, counts, service, 0.0, tail)
            longest_s = longest[rows][:, None, :] if table.mixed else service
            latencies.append(np.where(share > 0, longest_s + wait, 0.0))
        return latencies[0], latencies[1]


class Shared(Placement):
    """Any GPU runs any tier, so that all batches wait in one pool."""

    def has_capacity(self, rows: Rows, demand_rps: float, gpus: int) -> Mask:
        """Add the work of both tiers."""
        light, heavy = self.table.load(rows, demand_rps)
        return np.asarray((light + heavy < gpus) & (gpus > 0))

    def _feasible(self, rows: Rows, demand_rps: float, gpus: int) -> Mask:
        slowest = self._slowest_s(rows, demand_rps, np.array([gpus]))
        return np.asarray((slowest <= self.table.slo_s).any((1, 2, 3)))

    def fewest_gpus(self, row: int, demand_rps: float, gpus: int, min_gpus: int) -> Allocation:
        """Compare all counts of the pool; each tier's count is how many GPUs may run it at one time."""
        table = self.table
        counts = np.arange(max(1, min_gpus), max(1, gpus) + 1)
        slowest = self._slowest_s(np.array([row]), demand_rps, counts)[0]
        order = np.where(slowest <= table.slo_s, _fewest_then_fastest(counts[:, None, None], slowest), np.inf)
        n, i, j = (int(k) for k in np.unravel_index(int(np.argmin(order)), order.shape))
        total, slowest_s = int(counts[n]), float(slowest[n, i, j])
        light = table.light_share[row] * table.light_s[row, i] / table.batches[i]
        heavy = table.heavy_share[row] * table.heavy_s[row, j] / table.batches[j]
        # By each tier's part of the work, and at least one for each tier that is used.
        light_count = round(total * light / (light + heavy)) if heavy else total
        light_count = min(max(light_count, int(light > 0)), total - int(heavy > 0 and total > 1))
        light_s = float(table.light_longest_s[row, i]) * (light > 0)
        heavy_s = float(table.heavy_longest_s[row, j]) * (heavy > 0)
        wait = (slowest_s - light_s - heavy_s) / 2 if self._deferred[row] else slowest_s - max(light_s, heavy_s)
        sizes = int(table.batches[i]), int(table.batches[j])
        light_latency_s = light_s + wait if light > 0 else 0.0
        return Allocation(row, total, light_count, total - light_count, *sizes, light_latency_s, slowest_s)

    def _slowest_s(self, rows: Rows, demand_rps: float, gpus: NDArray[np.intp]) -> Array:
        """Return the seconds of the slowest path by (rows, gpus, light batches, heavy batches)."""
        table, cell = self.table, (slice(None), None, None, None)
        light_share, heavy_share = table.light_share[rows][cell], table.heavy_share[rows][cell]
        light = np.where(light_share > 0, table.light_s[rows][:, None, :, None], 0.0)
        heavy = np.where(heavy_share > 0, table.heavy_s[rows][:, None, None, :], 0.0)
        longest_light, longest_heavy = light, heavy
        if table.mixed:
            longest_light = np.where(light_share > 0, table.light_longest_s[rows][:, None, :, None], 0.0)
            longest_heavy = np.where(heavy_share > 0, table.heavy_longest_s[rows][:, None, None, :], 0.0)
        rates = light_share / table.batches[:, None], heavy_share / table.batches  # batches per request
        with np.errstate(invalid="ignore"):
            work, rate = rates[0] * light + rates[1] * heavy, rates[0] + rates[1]
            mean = work / rate
            scv = (rates[0] * light**2 + rates[1] * heavy**2) / rate / mean**2 - 1
            count = gpus[None, :, None, None].astype(float)
            wait = wait_quantile_s(demand_rps * work / count, count, mean, scv, self._tail[rows][cell])
            longer = np.maximum(longest_light, longest_heavy) + wait
            return np.where(self._deferred[rows][cell], longest_light + longest_heavy + 2 * wait, longer)


class SharedBesideRemote(Placement):
    """Any GPU runs any local tier. A row with a remote tier has one local tier at most, so its GPUs are all of that."""

    def __init__(self, table: Table, late_share: float) -> None:
        """Take each row for shared or for dedicated ones."""
        super().__init__(table, late_share)
        self._shared, self._dedicated = Shared(table, late_share), Dedicated(table, late_share)
        self._remote = (table.light_slots > 0) | (table.heavy_slots > 0)

    def has_capacity(self, rows: Rows, demand_rps: float, gpus: int) -> Mask:
        """Ask for each row as it is."""
        shared, dedicated = (p.has_capacity(rows, demand_rps, gpus) for p in (self._shared, self._dedicated))
        return np.where(self._remote[rows], dedicated, shared)

    def _feasible(self, rows: Rows, demand_rps: float, gpus: int) -> Mask:
        remote = self._remote[rows]
        feasible = np.zeros(len(rows), bool)
        feasible[remote] = self._dedicated.feasible(rows[remote], demand_rps, gpus)
        feasible[~remote] = self._shared.feasible(rows[~remote], demand_rps, gpus) if gpus > 0 else False
        return feasible

    def fewest_gpus(self, row: int, demand_rps: float, gpus: int, min_gpus: int) -> Allocation:
        """Ask for the row as it is."""
        return (self._dedicated if self._remote[row] else self._shared).fewest_gpus(row, demand_rps, gpus, min_gpus)


def placement(table: Table, late_share: float, *, shared: bool) -> Placement:
    """Return the placement of a table's rows."""
    if shared and table.slots.any():
        return SharedBesideRemote(table, late_share)
    return (Shared if shared else Dedicated)(table, late_share)


def slowest_path_s(deferred: Mask | np.bool_, light_s: Array, heavy_s: Array) -> Array:
    """Return the seconds of the slowest path: of both tiers in turn where a row defers anything."""
    return np.where(deferred, light_s + heavy_s, np.maximum(light_s, heavy_s))


def fewest(enough: Callable[[int], bool], low: int, high: int) -> int:
    """Return the least number of `low` to `high` that is enough, where `high` is and more never hurts."""
    return low + bisect_left(range(low, high), True, key=enough)


def _fewest_then_fastest(counts: NDArray[np.intp], slowest_s: Array) -> Array:
    """Return what orders by count, and alike counts by latency."""
    return counts + 1e-6 * np.minimum(slowest_s, 1e3) / 1e3
