"""Which configuration routes on the GPUs that are ready, moment by moment: by work, with feedback from the queues.

`solve` asks how many GPUs keep a latency without any help; this module asks how much of the GPUs that are ready can be
used. It may use nearly all of it, because the router keeps the SLO by itself: a deferred request that would be late
is answered with its light image, and a direct one that would be late goes to the light tier. So the heavy tier needs
no reserve against bursts: a small queue keeps it busy, and the queue's length says whether the plan asks too much.

Per second, a configuration needs `demand * (light share * light seconds + heavy share * heavy seconds)` GPU seconds
(the paper's section 4.2, by tier for dedicated GPUs), on shared ones in the heavy batches that begin as a rule
(`reserve`). It may take what the GPUs give, plus or minus what brings the queue to its target within a horizon: a
proportional controller on the queued work, with the demand fed forward.

The queue integrates what the plan asks too much, with a dead time theta: a plan holds for a period, half of which has
passed on average. For such a plant the gain is 1 / (2 theta) (Skogestad 2003, "Simple analytic rules for model
reduction and PID controller tuning", the SIMC rule with tau_c = theta). And what is measured has steps: a queue falls
by a batch whenever one is begun, which is a lot on few GPUs, and must not move the plan by more than a share STEP of
what the GPUs give. So

    horizon = max(queue_horizon_slos * SLO, 2 * period / 2, longest batch / (STEP * GPUs))

Dedicated GPUs move between tiers all the time, and a queue is the first sign that a tier lost some: there the horizon
is the first of the three, the target has no such step, and there is no dead band.

A remote tier's slots are a pool of their own beside the GPUs, whichever the placement.

Dead band: for the same reason two queues that differ by less than the longest batch tell no difference. The row in
force is kept while its work is within that, per horizon, of what it may take.

Pairs: a row of another pair than that in force is for the long run. It is chosen where its pair is no worse than the
one in force where no queue is, by what the GPUs give for the demand, which is measured to within DEMAND_NOISE.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hadis.planning.objectives import Criterion
from hadis.planning.plan import Plan
from hadis.planning.queueing import Array
from hadis.planning.row_batches import Begun, RowBatches
from hadis.planning.table import Table
from hadis.planning.tuning import Tuning

_STEP = 0.1
"""Share of what the GPUs give by which one batch that is begun may move the plan."""
_DEMAND_NOISE = 0.1
"""Share by which steady demand, as it is measured, goes up and down: it must not change the pair."""


@dataclass(frozen=True)
class Route:
    """A row of the table for the moment, with batch sizes and what it is expected to take."""

    row: int
    keeps_up: bool
    """Whether the GPUs can do the work of the demand in the long run, be it with another row."""
    light_batch: int
    heavy_batch: int
    light_gpus: float
    """GPU seconds per second that the light tier needs; `heavy_gpus` likewise."""
    heavy_gpus: float
    light_latency_s: float
    """Latency of a request that the light tier answers, with the queue at its target."""
    heavy_latency_s: float
    """Latency of the slowest path, likewise."""


Flags = NDArray[np.bool_]
_Part = tuple[Array, Array, Array]
"""Of one pool of servers: its work by row (seconds per second), its servers, and the work that waits for it."""


class Routing:
    """Chooses rows of one table for GPUs that are ready."""

    def __init__(
        self, table: Table, criterion: Criterion, *, shared: bool, every_s: float, tuning: Tuning = Tuning()
    ) -> None:
        """Prepare the arrays; `every_s` is the period of the plans.

        Rows are ordered by the criterion's values alone, for the GPUs are there: fewer of them would save nothing.
        """
        self._table, self._values = table, criterion.values(table)
        self._shared, self._tuning = shared, tuning
        self._batches = RowBatches(table, shared=shared, tuning=tuning)
        self._least_horizon_s = tuning.queue_horizon_slos * table.slo_s
        if shared:
            self._least_horizon_s = max(self._least_horizon_s, every_s)
        self._wait_s = tuning.target_wait * np.maximum(0.0, table.slo_s - self._batches.slowest_s)
        self._pairs = table.light * len(table.names) + table.heavy  # a number per pair of tiers, by row

    def choose(
        self, demand_rps: float, ready: Mapping[str, float], queued_s: Mapping[str, float], former: Plan | None
    ) -> Route | None:
        """Return the best row for GPUs that are ready; None where no row that they can run keeps the SLO at all.

        `ready` has the GPUs of each tier; on shared GPUs each counts for every tier. `queued_s` is the work that
        waits for each tier, in GPU seconds. `former` is in force: its row and its pair are left only for a gain.
        Where no row keeps up, it is the one that gets through the queue soonest.
        """
        table, names = self._table, self._table.names
        gpus = np.array([ready.get(name, 0) for name in names], float)
        queue = np.array([queued_s.get(name, 0.0) for name in names])
        begun = self._batches.begun(demand_rps)
        light, heavy = demand_rps * self._batches.light_work, demand_rps * begun.heavy_work
        runnable = self._batches.possible.copy()
        for share, tier in ((table.light_share, table.light), (table.heavy_share, table.heavy)):
            runnable &= (share == 0) | (gpus[tier] > 0)
        if not runnable.any():
            return None
        parts = self._parts(light, heavy, gpus, queue)
        of_spare = np.where(runnable, 0.0, np.inf)  # each row's load as a share of what new work may take
        of_all = np.zeros(len(light))  # and of all that the GPUs give
        fewest = np.full(len(light), np.inf)  # the servers of the smallest pool that each row works on
        for load, count, waiting in parts:
            fewest = np.where(load > 0, np.minimum(fewest, count), fewest)
            with np.errstate(divide="ignore", invalid="ignore"):
                spare = self._spare(begun, count, waiting)
                of_spare = np.maximum(of_spare, np.where(load > 0, load / spare, 0.0))
                of_all = np.maximum(of_all, np.where(load > 0, load / count, 0.0))
        keeps_up = of_spare <= 1
        row = self._kept(begun, of_spare, fewest, former)
        if row is None and keeps_up.any():
            pair = (former.light, former.heavy) if former else None
            row = self._best(keeps_up, np.where(runnable, of_all, np.inf), pair)
        elif row is None:
            row = int(of_spare.argmin())
        # A row that is kept may be over what it may take, within the dead band, while others are not.
        return self._route(row, light, heavy, bool(of_all[row] <= 1 or keeps_up.any()))

    def _parts(self, light: Array, heavy: Array, gpus: Array, queue: Array) -> list[_Part]:
        """Return what each pool of servers has to do, by row; `gpus` and `queue` are by tier."""
        table, local = self._table, self._table.slots == 0
        of_tier = [(light, gpus[table.light], queue[table.light]), (heavy, gpus[table.heavy], queue[table.heavy])]
        if not self._shared:
            return of_tier
        on_gpus = local[table.light], local[table.heavy]
        shared = np.where(on_gpus[0], light, 0.0) + np.where(on_gpus[1], heavy, 0.0)
        parts = [(shared, np.asarray(gpus[local].max(initial=0.0)), np.asarray(queue[local].sum()))]
        if not local.all():
            parts += [
                (np.where(is_local, 0.0, load), count, waiting)
                for (load, count, waiting), is_local in zip(of_tier, on_gpus, strict=True)
            ]
        return parts

    @property
    def names(self) -> list[str]:
        """Tiers from light to heavy."""
        return self._table.names

    @property
    def local_names(self) -> list[str]:
        """Those of them that GPUs make."""
        return [name for name, slots in zip(self._table.names, self._table.slots, strict=True) if not slots]

    def best_values(self, demand_rps: float, gpus: Array | NDArray[np.int_]) -> Array:
        """Return the value (n,) of the best row that dedicated GPUs (n, local tiers) keep up with in the long run.

        Where they keep up with nothing it is over that of any row, by the share of the work that is too much. Rows do
        not count that have no tier for requests which others do have one for.
        """
        table, values = self._table, self._values
        counts = np.repeat(table.slots[None], len(gpus), 0).astype(float)
        counts[:, table.slots == 0] = gpus
        made = table.unmade_share <= table.unmade_share[self._batches.possible].min(initial=np.inf)
        excess = np.where(self._batches.possible & made, 0.0, np.inf)[None, :].repeat(len(counts), 0)
        for work, tier in ((self._batches.light_work, table.light), (self._batches.heavy_work, table.heavy)):
            with np.errstate(divide="ignore", invalid="ignore"):
                excess = np.maximum(excess, np.where(work > 0, demand_rps * work / counts[:, tier] - 1, 0.0))
                excess = np.where((work > 0) & (counts[:, tier] == 0), np.inf, excess)
        best = np.where(excess <= 0, values, np.inf).min(1)
        beyond = float(values.max()) * (2 + np.minimum(excess.min(1), 1e6))
        return np.asarray(np.where(np.isfinite(best), best, beyond))

    def _kept(self, begun: Begun, of_spare: Array, servers: Array, former: Plan | None) -> int | None:
        """Return the row in force if its work is what it may take, as far as queues can tell; `servers` by row."""
        if former is None or not self._shared:
            return None
        row = self._table.row_of(former)
        if row is None:
            return None
        band = begun.longest_s[row] / (max(servers[row], 1e-9) * self._horizon_s(begun, servers)[row])
        return row if 1 - band <= of_spare[row] <= 1 + band / 2 else None

    def _best(self, allowed: Flags, load: Array, pair: tuple[str, str] | None) -> int:
        """Return the best of the rows that queues allow, of the pair in force where no other is better by enough.

        `load` is each row's as a share of what the GPUs give. A queue comes and goes with every batch: no pair takes
        over for a queue that would be worse in the long run.
        """
        table = self._table
        values = np.where(allowed, self._values, np.inf)
        if pair is None or not set(pair) <= set(table.names):
            return int(values.argmin())
        light, heavy = (table.names.index(name) for name in pair)
        same = self._pairs == light * len(table.names) + heavy
        lasting = load <= np.where(same, 1 + _DEMAND_NOISE, 1 - _DEMAND_NOISE)
        in_the_long_run = self._by_pair(lasting) * (1 - self._tuning.pair_gain)
        no_worse = allowed & (in_the_long_run <= self._values[same & lasting].min(initial=np.inf))
        if no_worse.any():
            values = np.where(no_worse, values, np.inf)
        best = int(values.argmin())
        if values[same].min(initial=np.inf) * (1 - self._tuning.pair_gain) <= values[best]:
            best = int(np.where(same, values, np.inf).argmin())
        return best

    def _by_pair(self, among: Flags) -> Array:
        """Return for each row the value of the best of these rows that its pair of tiers has."""
        best = np.full(len(self._table.names) ** 2, np.inf)
        np.minimum.at(best, self._pairs, np.where(among, self._values, np.inf))
        return np.asarray(best[self._pairs])

    def _route(self, row: int, light: Array, heavy: Array, keeps_up: bool) -> Route:
        batches, sizes = self._batches, self._table.batches
        wait_s = float(self._wait_s[row])
        waits = 2 if self._table.deferred_share[row] > 0 else 1
        return Route(
            row=row,
            keeps_up=keeps_up,
            light_batch=int(sizes[batches.light[row]]),
            heavy_batch=int(sizes[batches.heavy[row]]),
            light_gpus=float(light[row]),
            heavy_gpus=float(heavy[row]),
            light_latency_s=float(batches.light_s[row]) + wait_s,
            heavy_latency_s=float(batches.slowest_s[row]) + wait_s * waits,
        )

    def _spare(self, begun: Begun, gpus: float | Array, queue_s: float | Array) -> Array:
        """Return the GPU seconds per second that new work may take: never 0 where there is a GPU."""
        target_s = gpus * self._wait_s
        if self._shared:
            target_s = np.maximum(target_s, begun.longest_s)  # a queue that is to fill batches holds one at least
        spare = gpus + (target_s - queue_s) / self._horizon_s(begun, gpus)
        return np.asarray(np.maximum(self._tuning.least_spare * gpus, spare))

    def _horizon_s(self, begun: Begun, gpus: float | Array) -> Array:
        """Return each row's seconds in which the queue is brought to its target."""
        if not self._shared:
            return np.full(len(begun.longest_s), self._least_horizon_s)
        return np.asarray(np.maximum(self._least_horizon_s, begun.longest_s / (_STEP * np.maximum(gpus, 1e-9))))


@lru_cache(maxsize=64)
def cached_routing(
    table: Table, criterion: Criterion, *, shared: bool, every_s: float, tuning: Tuning = Tuning()
) -> Routing:
    """Return what all services with the same table and objective use."""
    return Routing(table, criterion, shared=shared, every_s=every_s, tuning=tuning)
