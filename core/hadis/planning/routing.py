"""Which configuration routes on the GPUs that are ready, moment by moment: by work, with feedback from the queues.

`solve` asks how many GPUs keep a latency without any help; this module asks how much of what is there can be used.
It may use nearly all of it, because the router keeps the objective by itself: a deferred request that would be late
is answered with its light image, and a direct one that would be late goes to the light tier. So the heavy tier needs
no reserve against bursts: a small queue keeps it busy, and the queue's length says whether the plan asks too much.

Per second, a configuration needs `demand * (light share * light seconds + heavy share * heavy seconds)` GPU seconds
(the paper's section 4.2, by tier for dedicated GPUs). It may take what the GPUs give, plus or minus what brings the
queue to its target within the horizon: a proportional controller on the queued work, with the demand fed forward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hadis.planning.queueing import Array
from hadis.planning.table import Table

ROOM = 0.1
"""Share of the SLO that batches leave for waiting on the slowest path."""
TARGET_WAIT = 0.25
"""Queue to aim at, in GPU seconds a GPU, as a share of the time to spare: enough for a batch to be full and no GPU
to idle between plans, and little enough that most of what waits is made in time."""
HORIZON_SLOS = 0.5
"""Time over which the queue is brought to its target: half the life of what waits in it."""
PAIR_GAIN = 0.002
"""Another pair of tiers must be better by this share: below it, the bilinear table cannot tell them apart."""
_NEARLY_BEST = 1.02
_LEAST = 0.05


@dataclass(frozen=True)
class Route:
    """A row of the table for the moment, with batch sizes and what it is expected to take."""

    row: int
    keeps_up: bool
    """Whether the GPUs can do the work of the demand in the long run."""
    light_batch: int
    heavy_batch: int
    light_gpus: float
    """GPU seconds a second that the light tier needs; `heavy_gpus` likewise."""
    heavy_gpus: float
    light_latency_s: float
    heavy_latency_s: float


class Routing:
    """Chooses rows of one table for GPUs that are ready."""

    def __init__(self, table: Table, slo_s: float, *, shared: bool) -> None:
        """Choose each row's batches: the smallest that are nearly as quick an image as any that leave room to wait."""
        self._table, self._shared = table, shared
        room = (1 - ROOM) * slo_s
        twice = table.deferred > 0
        # The light batch is looked at as one image first, so that the heavy batch gets the room.
        before = np.where(twice, table.light_s[:, 0], 0.0)
        self._heavy, heavy_ok = _batches(table.heavy_s, table.batches, room - before)
        self._heavy_s = np.take_along_axis(table.heavy_s, self._heavy[:, None], 1)[:, 0]
        self._light, light_ok = _batches(table.light_s, table.batches, room - np.where(twice, self._heavy_s, 0.0))
        self._light_s = np.take_along_axis(table.light_s, self._light[:, None], 1)[:, 0]
        uses_light, uses_heavy = table.light_share > 0, table.heavy_share > 0
        self._light_s = np.where(uses_light, self._light_s, 0.0)
        self._heavy_s = np.where(uses_heavy, self._heavy_s, 0.0)
        self._possible = (light_ok | ~uses_light) & (heavy_ok | ~uses_heavy)
        slowest = np.where(twice, self._light_s + self._heavy_s, np.maximum(self._light_s, self._heavy_s))
        self._wait_s = TARGET_WAIT * np.maximum(0.0, slo_s - slowest)
        self._slowest_s = slowest
        self._horizon_s = HORIZON_SLOS * slo_s
        self._light_work = table.light_share * self._light_s / table.batches[self._light]
        self._heavy_work = table.heavy_share * self._heavy_s / table.batches[self._heavy]

    def choose(
        self, demand_rps: float, ready: Mapping[str, int], queued_s: Mapping[str, float], pair: tuple[str, str] | None
    ) -> Route | None:
        """Return the best row for GPUs that are ready; None where no row keeps the SLO at all.

        `ready` has the GPUs of each tier; on shared GPUs each counts for every tier. `queued_s` is the work that
        waits for each tier, in GPU seconds. `pair` is in force and is left only for a gain.
        """
        table, names = self._table, self._table.names
        gpus = np.array([ready.get(name, 0) for name in names], float)
        queue = np.array([queued_s.get(name, 0.0) for name in names])
        light, heavy = demand_rps * self._light_work, demand_rps * self._heavy_work
        enough = self._possible.copy()
        for share, tier in ((table.light_share, table.light), (table.heavy_share, table.heavy)):
            enough &= (share == 0) | (gpus[tier] > 0)
        if not enough.any():
            return None
        if self._shared:
            parts = [(light + heavy, gpus.max(initial=0.0), queue.sum())]
        else:
            parts = [(load, gpus[tier], queue[tier]) for load, tier in ((light, table.light), (heavy, table.heavy))]
        asked = np.where(enough, 0.0, np.inf)
        busy = np.zeros(len(light))
        for load, count, waiting in parts:
            with np.errstate(divide="ignore", invalid="ignore"):
                spare = _spare(count, waiting, self._wait_s, self._horizon_s)
                asked = np.maximum(asked, np.where(load > 0, load / spare, 0.0))
                busy = np.maximum(busy, np.where(load > 0, load / count, 0.0))
        # Where nothing fits, the row that asks least in proportion gets through the queue soonest.
        row = self._best(asked <= 1, pair) if (asked <= 1).any() else int(asked.argmin())
        return self._route(row, light, heavy, bool(busy[row] <= 1 or asked[row] <= 1))

    @property
    def names(self) -> list[str]:
        """Tiers from light to heavy."""
        return self._table.names

    def quality(self, demand_rps: float, counts: NDArray[np.int_]) -> Array:
        """Return the best quality (n,) that dedicated GPUs (n, tiers) keep up with in the long run.

        Where they keep up with nothing it is worse than any measured one, by the share of the work that is too much.
        """
        table = self._table
        over = np.where(self._possible, 0.0, np.inf)[None, :].repeat(len(counts), 0)
        for work, tier in ((self._light_work, table.light), (self._heavy_work, table.heavy)):
            with np.errstate(divide="ignore", invalid="ignore"):
                over = np.maximum(over, np.where(work > 0, demand_rps * work / counts[:, tier] - 1, 0.0))
                over = np.where((work > 0) & (counts[:, tier] == 0), np.inf, over)
        fitting = np.where(over <= 0, table.quality, np.inf).min(1)
        short = float(table.quality.max()) * (2 + np.minimum(over.min(1), 1e6))
        return np.asarray(np.where(np.isfinite(fitting), fitting, short))

    def _best(self, fits: NDArray[np.bool_], pair: tuple[str, str] | None) -> int:
        table = self._table
        quality = np.where(fits, table.quality, np.inf)
        best = int(quality.argmin())
        if pair is not None and set(pair) <= set(table.names):
            light, heavy = (table.names.index(name) for name in pair)
            same = np.where((table.light == light) & (table.heavy == heavy), quality, np.inf)
            if same.min() * (1 - PAIR_GAIN) <= quality[best]:
                best = int(same.argmin())
        return best

    def _route(self, row: int, light: Array, heavy: Array, keeps_up: bool) -> Route:
        sizes = self._table.batches
        wait = float(self._wait_s[row])
        twice = self._table.deferred[row] > 0
        return Route(
            row=row,
            keeps_up=keeps_up,
            light_batch=int(sizes[self._light[row]]),
            heavy_batch=int(sizes[self._heavy[row]]),
            light_gpus=float(light[row]),
            heavy_gpus=float(heavy[row]),
            light_latency_s=float(self._light_s[row]) + wait,
            heavy_latency_s=float(self._slowest_s[row]) + wait * (2 if twice else 1),
        )


@lru_cache(maxsize=64)
def shared_routing(table: Table, slo_s: float, *, shared: bool) -> Routing:
    """Return what all services with the same table use."""
    return Routing(table, slo_s, shared=shared)


def _spare(gpus: float | Array, queue_s: float | Array, wait_s: Array, horizon_s: float) -> Array:
    """Return the GPU seconds a second that new work may take: something always, so that nothing is divided by 0."""
    return np.asarray(np.maximum(_LEAST * gpus, gpus + (gpus * wait_s - queue_s) / horizon_s))


def _batches(seconds: Array, sizes: Array, limit_s: Array) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return each row's batch index and whether any batch is within its limit."""
    within = np.where(seconds <= limit_s[:, None], seconds / sizes, np.inf)
    best = within.min(-1, keepdims=True)
    return (within <= best * _NEARLY_BEST).argmax(-1), np.isfinite(best[:, 0])
