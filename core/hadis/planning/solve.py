"""The planner's heart: (profile, objective, demand, GPUs) to the best plan; pure, exact, vectorised.

Rows are looked at in order of quality, in blocks, and the first that fits ends the search, so that most of the table
is never evaluated; what cannot keep up even with full batches and no waiting is left out before.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hadis.api.fields import parse_duration_s
from hadis.planning.plan import Plan, TierPlan
from hadis.planning.table import Fit, shared_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hadis.api.resources import Objective
    from hadis.planning.profile import Profile

SWITCH_GAIN = 0.01
"""Another configuration must promise this share of better quality before the plan leaves one that still fits.

Under it lies the noise of measured distances (a bootstrap over 5,000 prompts gives about 1% for FID), so that a
smaller promise is no gain, but every switch makes the router learn new thresholds.
"""
_FIRST_BLOCK, _LARGEST_BLOCK = 8, 128
_FAR = 4096
"""GPUs up to which the reason of an infeasible plan says how many would do."""


class Solver:
    """Chooses plans for one profile and objective. `shared`: any GPU may run any tier, so all wait in one pool."""

    def __init__(self, profile: Profile, objective: Objective, *, shared: bool, refine: int = 1) -> None:
        """Prepare the arrays. `refine` divides each step of the ratios' grid, with quality linear in between."""
        self._slo_s = parse_duration_s(objective.latency)
        self._objective = objective
        self.table = shared_table(profile, self._slo_s, 1 - objective.attainment, shared=shared, refine=refine)

    def solve(self, demand_rps: float, gpus: int, min_gpus: int = 0, previous: Plan | None = None) -> Plan:
        """Return the plan for a demand (requests/s) and a number of GPUs; raise ValueError for a wrong number.

        A plan uses the fewest GPUs at which its configuration fits, at least `min_gpus`. Where nothing fits it has
        `feasible` False, is the one that hurts least, and its reason says what is missing.
        """
        if not (math.isfinite(demand_rps) and demand_rps >= 0):
            raise ValueError(f"demand must be a number of requests/s, 0 or more; is {demand_rps}")
        if gpus < 0 or min_gpus < 0:
            raise ValueError(f"gpus must be 0 or more; is {min(gpus, min_gpus)}")
        if self._objective.optimize == "Cost":
            chosen, note = self._cheapest(demand_rps, gpus)
        else:
            chosen, note = self._first(self.table.by_quality, demand_rps, gpus), "best quality"
        if chosen is None:
            return self._least_harm(demand_rps, gpus)
        chosen, kept = self._stay(chosen, previous, demand_rps, gpus)
        fit = self.table.fewest(chosen, demand_rps, gpus, min(min_gpus, gpus))
        why = "kept: nothing else is better by enough" if kept else note
        return self._plan(fit, demand_rps, f"{why}, for {demand_rps:.3g} requests/s on {gpus} GPUs")

    def _first(self, rows: NDArray[np.intp], demand_rps: float, gpus: int) -> int | None:
        """Return the first of the rows that fits."""
        rows = rows[self.table.could_fit(rows, demand_rps, gpus)]
        start, size = 0, _FIRST_BLOCK
        while start < len(rows):
            block = rows[start : start + size]
            good = np.flatnonzero(self.table.fits(block, demand_rps, gpus))
            if len(good):
                return int(block[good[0]])
            start, size = start + size, min(_LARGEST_BLOCK, 2 * size)
        return None

    def _any_fits(self, demand_rps: float, gpus: int) -> bool:
        return self._first(self.table.by_quality, demand_rps, gpus) is not None

    def _cheapest(self, demand_rps: float, gpus: int) -> tuple[int | None, str]:
        """Return the best row that reaches the quality with the fewest GPUs; else the best row of all."""
        wanted = self._objective.quality or math.inf
        good = self.table.by_quality[
            : int(np.searchsorted(self.table.quality[self.table.by_quality], wanted, side="right"))
        ]
        if self._first(good, demand_rps, gpus) is None:
            return self._first(
                self.table.by_quality, demand_rps, gpus
            ), f"quality {wanted:g} cannot be reached; the best"
        low, high = 0, gpus
        while low < high:  # more GPUs never hurt, so the fewest is found by halving
            middle = (low + high) // 2
            low, high = (low, middle) if self._first(good, demand_rps, middle) is not None else (middle + 1, high)
        return self._first(good, demand_rps, high), f"quality {wanted:g} with the fewest GPUs"

    def _stay(self, chosen: int, previous: Plan | None, demand_rps: float, gpus: int) -> tuple[int, bool]:
        """Return the previous plan's row instead of the chosen one where the gain is too small to switch."""
        if previous is None or not previous.feasible:
            return chosen, False
        row = self.table.find(previous.light, previous.heavy, previous.direct_ratio, previous.deferral_ratio)
        if row is None or row == chosen or not self.table.fits(np.array([row]), demand_rps, gpus)[0]:
            return chosen, False
        quality = self.table.quality
        if self._objective.optimize == "Cost":
            reach = quality[row] <= (self._objective.quality or math.inf) or quality[row] <= quality[chosen]
            counts = [self.table.fewest(r, demand_rps, gpus, 0) for r in (row, chosen)]
            stay = reach and sum((counts[0].light_count, counts[0].heavy_count)) <= sum(
                (counts[1].light_count, counts[1].heavy_count)
            )
        else:
            stay = quality[chosen] > quality[row] * (1 - SWITCH_GAIN)
        return (row, True) if stay else (chosen, False)

    def _least_harm(self, demand_rps: float, gpus: int) -> Plan:
        """Return the plan with the most throughput, and why nothing fits."""
        row = self.table.quickest(demand_rps)
        needed = next((n for n in _doubling(max(1, gpus), _FAR) if self._any_fits(demand_rps, n)), 0)
        if needed:
            low, high = max(0, gpus), needed
            while low < high:
                middle = (low + high) // 2
                low, high = (low, middle) if self._any_fits(demand_rps, middle) else (middle + 1, high)
            why = f"{demand_rps:.3g} requests/s within {self._slo_s:g} s need {high} GPUs, there are {gpus}"
        elif self._any_fits(0.0, 2):  # one GPU a tier, nobody waits: what is too much is the demand
            why = f"{demand_rps:.3g} requests/s within {self._slo_s:g} s need more than {_FAR} GPUs, there are {gpus}"
        else:
            fastest = self.table.shortest_service_s
            why = f"no tier can meet {self._slo_s:g} s: the fastest takes {fastest:g} s; ask for a longer latency"
            if fastest <= self._slo_s:
                why = (
                    f"no configuration can meet {self._slo_s:g} s, though a tier alone takes {fastest:g} s; profile it"
                )
        return self._plan(self.table.whatever(row, demand_rps, gpus), demand_rps, why, feasible=False)

    def _plan(self, fit: Fit, demand_rps: float, reason: str, feasible: bool = True) -> Plan:
        light, heavy, direct, deferral, quality = self.table.row(fit.row)
        tiers = [TierPlan(light, fit.light_count, fit.light_batch)]
        if heavy != light:  # also with a count of 0: on a shared pool of one GPU both tiers take turns
            tiers.append(TierPlan(heavy, fit.heavy_count, fit.heavy_batch))
        return Plan(
            light=light,
            heavy=heavy,
            direct_ratio=direct,
            deferral_ratio=deferral,
            tiers=tuple(tiers),
            demand_rps=demand_rps,
            quality=quality,
            light_latency_s=fit.light_latency_s,
            heavy_latency_s=fit.heavy_latency_s,
            feasible=feasible,
            reason=reason,
        )


def _doubling(start: int, end: int) -> list[int]:
    return [*(start * 2**i for i in range(max(0, math.ceil(math.log2(end / start))))), max(start, end)]
