"""The rows of a profile as arrays: each row's tiers, shares of the requests, batch times and energy.

Solver, routing, scaling and the Pareto front all work on one `Table` of a profile and an SLO, which has no state.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hadis.api.shares import deferred_share, heavy_share, light_share
from hadis.planning.grid import refined
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.planning.queueing import Array
from hadis.planning.restricted import row_shares
from hadis.planning.sizes import alike_share, mean_and_longest_s

Rows = NDArray[np.intp]


class Table:
    """Rows (light, heavy, best of two, direct ratio, deferral ratio, quality) of a profile, with each tier's times.

    Where sizes are mixed, `light_s` and `heavy_s` are means, for capacity, and the longest are for latencies.
    """

    def __init__(self, profile: Profile, slo_s: float, *, refine: int = 1) -> None:
        """Make the arrays. `refine` divides each step of the ratios' grid, with quality linear in between."""
        self.names, self.slo_s = list(profile.tiers), slo_s
        rows = np.array(refined(profile.configurations, self.names, refine))
        self.light, self.heavy = rows[:, 0].astype(int), rows[:, 1].astype(int)
        self.best_of_two = rows[:, 2].astype(bool)
        self.direct, self.deferral, self.quality = rows[:, 3], rows[:, 4], rows[:, 5]
        self._index = {key: i for i, key in enumerate(map(tuple, np.round(rows[:, :5], 6).tolist()))}
        pair = self.light != self.heavy
        defers = pair & (self.deferral > 0)
        # By row, as indices: whether the discriminator judges each tier's images.
        self._judged = defers.astype(int), (defers & self.best_of_two).astype(int)
        sizes = sorted({b for name in self.names for b in profile.batch_sizes(name)})
        self.batches = np.array(sizes, float)
        self._seconds, self._longest_s, self._joules = self._measured(profile, sizes)
        self.slots = np.array([profile.slots.get(name, 0) for name in self.names])
        """By tier, the servers of one that an endpoint makes; 0 where GPUs do."""
        image_s = np.where(self.slots > 0, 0.0, (self._seconds[0] / self.batches).min(-1))
        own = row_shares(profile.restricted, self.names, self.light, self.heavy, image_s)
        self.unmade_share = own.unmade
        """By row, the share of the requests that neither tier may make: dedicated GPUs would have nobody for them."""
        # A single tier counts as light.
        self.light_share = np.where(pair, own.light + own.free * light_share(self.direct), own.free + own.heavy)
        self.deferred_share = np.where(pair, own.free * deferred_share(self.direct, self.deferral), 0.0)
        self.heavy_share = np.where(pair, own.heavy + own.free * heavy_share(self.direct, self.deferral), 0.0)
        self.heavy_first = pair & (self.heavy_share > self.deferred_share)
        """By row, whether some jobs of the heavy tier have no light image."""
        # By row: how many servers each tier has that are no GPUs; a tier that a row does not use counts as local.
        self.light_slots = np.where(self.light_share > 0, self.slots[self.light], 0)
        self.heavy_slots = np.where(self.heavy_share > 0, self.slots[self.heavy], 0)
        self.light_s = self._seconds[self._judged[0], self.light]
        self.heavy_s = self._seconds[self._judged[1], self.heavy]
        self.mixed = not np.array_equal(self._seconds, self._longest_s)
        self.light_longest_s = self._longest_s[self._judged[0], self.light] if self.mixed else self.light_s
        self.heavy_longest_s = self._longest_s[self._judged[1], self.heavy] if self.mixed else self.heavy_s
        # Of each row's heavy jobs, the share that an average one can share a batch with.
        self.heavy_alike = np.array([alike_share(profile, name, slo_s) for name in self.names])[self.heavy]
        within_slo = np.where(self._longest_s <= slo_s, self._seconds / self.batches, np.inf)
        # GPU seconds per request of each row's tiers, in the batches of most throughput within the SLO.
        image_s = within_slo.min(-1)
        with np.errstate(invalid="ignore"):  # a share of 0 of a tier that is too slow
            light_s = self.light_share * image_s[self._judged[0], self.light]
            heavy_s = self.heavy_share * image_s[self._judged[1], self.heavy]
        self._light_load_s = np.where(self.light_share > 0, light_s, 0.0)
        self._heavy_load_s = np.where(self.heavy_share > 0, heavy_s, 0.0)
        # Joules per request of each row, in those batches; infinite where the profile does not tell.
        self.energy_j = self._energy_j(within_slo)

    @property
    def shortest_service_s(self) -> float:
        """Seconds of the fastest tier's batch of one, of the longest size."""
        return float(self._longest_s[0].min())

    def row(self, i: int) -> tuple[str, str, float, float, float]:
        """Return the names, ratios and quality of a row."""
        ratios = float(self.direct[i]), float(self.deferral[i]), float(self.quality[i])
        return self.names[self.light[i]], self.names[self.heavy[i]], *ratios

    def find(self, light: str, heavy: str, direct: float, deferral: float, *, best_of_two: bool = False) -> int | None:
        """Return the row of a configuration, if it is in the table."""
        if light not in self.names or heavy not in self.names:
            return None
        key = self.names.index(light), self.names.index(heavy), best_of_two, round(direct, 6), round(deferral, 6)
        return self._index.get(key)

    def row_of(self, plan: Plan) -> int | None:
        """Return the row that a plan was made of, if it is in the table."""
        ratios = plan.direct_ratio, plan.deferral_ratio
        return self.find(plan.light, plan.heavy, *ratios, best_of_two=plan.best_of_two)

    def load(self, rows: Rows, demand_rps: float) -> tuple[Array, Array]:
        """Return the GPU seconds per second of light and heavy, in the batches of most throughput within the SLO."""
        demand_rps = max(demand_rps, np.finfo(float).tiny)  # infinite stays infinite where there is no demand
        return demand_rps * self._light_load_s[rows], demand_rps * self._heavy_load_s[rows]

    def load_without_slo(self, rows: Rows | slice = slice(None)) -> tuple[Array, Array]:
        """Return the GPU seconds per request of light and heavy, in the batches of most throughput of all."""
        light = self.light_share[rows] * (self.light_s[rows] / self.batches).min(-1)
        return light, self.heavy_share[rows] * (self.heavy_s[rows] / self.batches).min(-1)

    def least_busy(self, gpus: int) -> int:
        """Return the row that keeps its servers busy the least, of those that keep the SLO where any does.

        That is the one of the fewest GPU seconds per request, if it does not ask more of an endpoint per slot than of
        the GPUs.
        """
        rows = np.arange(len(self.quality))
        for light, heavy in (self.load(rows, 1.0), self.load_without_slo()):
            load = np.where(self.light_slots > 0, 0.0, light) + np.where(self.heavy_slots > 0, 0.0, heavy)
            for part, slots in ((light, self.light_slots), (heavy, self.heavy_slots)):
                load = np.maximum(load, np.where(slots > 0, part * max(1, gpus) / np.maximum(1, slots), 0.0))
            if np.isfinite(load).any():
                return int(np.lexsort((self.quality, load))[0])
        raise AssertionError("a profile has at least one measured batch")

    def best_batch(self, seconds: Array, longest_s: Array) -> int:
        """Return the index of the batch of most throughput, given each batch's seconds; within the SLO if any is."""
        within = np.where(longest_s <= self.slo_s, seconds / self.batches, np.inf)
        return int((within if np.isfinite(within).any() else seconds / self.batches).argmin())

    def _measured(self, profile: Profile, sizes: list[int]) -> tuple[Array, Array, Array]:
        """Return mean and longest seconds (discriminated, tier, batch), and joules (tier, batch).

        They are infinite for batches that were not measured. Energy is taken to grow with the time.
        """
        seconds, longest = np.full((2, 2, len(self.names), len(sizes)), np.inf)
        joules = np.full((len(self.names), len(sizes)), np.inf)
        for t, name in enumerate(self.names):
            for b in profile.batch_sizes(name):
                i = sizes.index(b)
                for judged in (False, True):
                    times = mean_and_longest_s(profile, name, b, judged, self.slo_s)
                    seconds[int(judged), t, i], longest[int(judged), t, i] = times
                joules[t, i] = profile.energy_j(name, b) * (seconds[0, t, i] / profile.latency_s(name, b))
        return seconds, longest, joules

    def _energy_j(self, image_s: Array) -> Array:
        """Return the joules per request; `image_s` (discriminated, tier, batch) says which batches are used.

        The discriminator's energy is not measured: it is taken to draw the power of its tier.
        """
        with np.errstate(invalid="ignore"):  # sizes that were not measured, and shares of 0 of what is unknown
            per_image = self._joules / self.batches * self._seconds / self._seconds[0]
            best = np.take_along_axis(per_image, image_s.argmin(-1)[..., None], -1)[..., 0]
            image_j = np.where(np.isfinite(image_s.min(-1)), best, np.inf)
            light = np.where(self.light_share > 0, self.light_share * image_j[self._judged[0], self.light], 0.0)
            heavy = np.where(self.heavy_share > 0, self.heavy_share * image_j[self._judged[1], self.heavy], 0.0)
            return light + heavy


@lru_cache(maxsize=64)
def cached_table(profile: Profile, slo_s: float, *, refine: int = 1) -> Table:
    """Return a table that all services with the same profile and SLO use: it holds megabytes, and no state."""
    return Table(profile, slo_s, refine=refine)
