"""The planner's heart: (profile, objective, demand, GPUs) to the best plan; pure, exact, vectorised.

Rows are searched from best to worst, in blocks, and the first feasible one ends the search, so that most of the table
is never evaluated; what cannot keep up even with full batches and no waiting is left out before.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hadis.api.fields import parse_duration_s
from hadis.planning.allocation import Allocation
from hadis.planning.consumption import image_joules, image_money
from hadis.planning.objectives import FeasibleRow, criterion
from hadis.planning.placement import MOST_GPUS, fewest, placement
from hadis.planning.plan import Plan, TierPlan, rounded
from hadis.planning.table import Rows, cached_table
from hadis.planning.tuning import Tuning

if TYPE_CHECKING:
    from hadis.api.resources import Objective
    from hadis.planning.profile import Profile

_FIRST_BLOCK, _LARGEST_BLOCK = 8, 128


class Solver:
    """Chooses plans for one profile and objective. `shared`: any GPU may run any tier, so all wait in one pool.

    It counts workers; where each takes several GPUs, only what it says to people counts those.
    """

    def __init__(
        self,
        profile: Profile,
        objective: Objective,
        *,
        shared: bool,
        tuning: Tuning = Tuning(),
        gpus_per_worker: int = 1,
    ) -> None:
        """Prepare the arrays."""
        self._gpus_per_worker, self._gpu_price = gpus_per_worker, objective.gpu_price
        self._slo_s, self._tuning = parse_duration_s(objective.latency), tuning
        self.table = cached_table(profile, self._slo_s, refine=tuning.refine)
        self.criterion = criterion(objective)
        self._placement = placement(self.table, 1 - objective.attainment, shared=shared)
        self._values = self.criterion.values(self.table)
        self._reaches = self.criterion.acceptable(self.table)
        self._order: Rows = np.argsort(self._values, kind="stable")
        self._acceptable = self._order[: self._reaches.sum()]

    def solve(self, demand_rps: float, gpus: int, min_gpus: int = 0, previous: Plan | None = None) -> Plan:
        """Return the plan for a demand (requests/s) and a number of GPUs; raise ValueError for a wrong number.

        A plan uses the fewest GPUs on which its configuration is feasible, at least `min_gpus`. Where nothing is
        feasible it has `feasible` False, is the plan of most throughput, and its reason says what is missing.
        """
        if not (math.isfinite(demand_rps) and demand_rps >= 0):
            raise ValueError(f"demand must be a number of requests/s, 0 or more; is {demand_rps}")
        if gpus < 0 or min_gpus < 0:
            raise ValueError(f"gpus must be 0 or more; is {min(gpus, min_gpus)}")
        best = self._best(demand_rps, gpus)
        if best is None:
            return self._infeasible(demand_rps, gpus)
        row = self._kept(best, previous, demand_rps, gpus)
        if row is not None:
            reason = "kept: nothing else is better by enough"
        else:
            row = best
            reason = self.criterion.reason(acceptable=bool(self._reaches[row]))
        allocation = self._placement.fewest_gpus(row, demand_rps, gpus, min(min_gpus, gpus))
        return self.plan_of(
            allocation, demand_rps, f"{reason}, for {rounded(demand_rps)} requests/s on {self._gpus(gpus)} GPUs"
        )

    def routing_reason(self, row: int) -> str:
        """Return why a row is the one for GPUs that are there, in words for people."""
        return self.criterion.routing_reason(acceptable=bool(self._reaches[row]))

    def _gpus(self, workers: int) -> int:
        return workers * self._gpus_per_worker

    def _best(self, demand_rps: float, gpus: int) -> int | None:
        """Return the best row of those that are acceptable, else of all; None where nothing is feasible."""
        best = self._first(self._acceptable, demand_rps, gpus)
        if best is None and len(self._acceptable) < len(self._order):
            return self._first(self._order, demand_rps, gpus)
        if best is not None and self.criterion.minimises_gpus:
            needed = fewest(lambda n: self._first(self._acceptable, demand_rps, n) is not None, 0, gpus)
            return self._first(self._acceptable, demand_rps, needed)
        return best

    def _first(self, rows: Rows, demand_rps: float, gpus: int) -> int | None:
        """Return the first of the rows that is feasible."""
        rows = rows[self._placement.has_capacity(rows, demand_rps, gpus)]
        start, size = 0, _FIRST_BLOCK
        while start < len(rows):
            block = rows[start : start + size]
            feasible = np.flatnonzero(self._placement.feasible(block, demand_rps, gpus))
            if len(feasible):
                return int(block[feasible[0]])
            start, size = start + size, min(_LARGEST_BLOCK, 2 * size)
        return None

    def _any_feasible(self, demand_rps: float, gpus: int) -> bool:
        return self._first(self._order, demand_rps, gpus) is not None

    def _kept(self, best: int, previous: Plan | None, demand_rps: float, gpus: int) -> int | None:
        """Return the previous plan's row where it is feasible and the best is not better by enough to leave it."""
        if previous is None or not previous.feasible:
            return None
        row = self.table.row_of(previous)
        if row is None or row == best or not self._placement.feasible(np.array([row]), demand_rps, gpus)[0]:
            return None
        new, current = (self._candidate(r, demand_rps, gpus) for r in (best, row))
        return None if self.criterion.better(new, current, self._tuning.switch_gain) else row

    def _candidate(self, row: int, demand_rps: float, gpus: int) -> FeasibleRow:
        return FeasibleRow(
            value=float(self._values[row]),
            acceptable=bool(self._reaches[row]),
            gpus=lambda: self._placement.fewest_gpus(row, demand_rps, gpus, 0).gpus,
        )

    def _infeasible(self, demand_rps: float, gpus: int) -> Plan:
        """Return the plan of most throughput, and why nothing is feasible."""
        row = self.table.least_busy(gpus)
        allocation = self._placement.most_throughput(row, gpus)
        return self.plan_of(allocation, demand_rps, self._missing(demand_rps, gpus), feasible=False)

    def _missing(self, demand_rps: float, gpus: int) -> str:
        """Return what would make a plan feasible, in words that a person can act on."""
        demand = f"{rounded(demand_rps)} requests/s within {self._slo_s:g} s"
        enough = next((n for n in _doubling(max(1, gpus), MOST_GPUS) if self._any_feasible(demand_rps, n)), None)
        if enough:
            needed = fewest(lambda n: self._any_feasible(demand_rps, n), gpus, enough)
            return f"{demand} need {self._gpus(needed)} GPUs, there are {self._gpus(gpus)}"
        if self.table.slots.all() and self._any_feasible(0.0, 0):
            return f"{demand} are more than the endpoints of all tiers can make; give them more slots"
        if self._any_feasible(0.0, 2):  # one GPU per tier, nothing waits: it is the demand that is too much
            return f"{demand} need more than {self._gpus(MOST_GPUS)} GPUs, there are {self._gpus(gpus)}"
        fastest = self.table.shortest_service_s
        if fastest <= self._slo_s:
            return f"no configuration can meet {self._slo_s:g} s, though a tier alone takes {fastest:g} s; profile it"
        return f"no tier can meet {self._slo_s:g} s: the fastest takes {fastest:g} s; ask for a longer latency"

    def plan_of(self, allocation: Allocation, demand_rps: float, reason: str, feasible: bool = True) -> Plan:
        """Return the plan of a row with its GPUs, batches and latencies."""
        light, heavy, direct, deferral, quality = self.table.row(allocation.row)
        remote = dict(zip(self.table.names, (self.table.slots > 0).tolist(), strict=True))
        tiers = [TierPlan(light, allocation.light_count, allocation.light_batch, remote[light])]
        if heavy != light:  # also with a count of 0: on a shared pool of one GPU both tiers take turns
            tiers.append(TierPlan(heavy, allocation.heavy_count, allocation.heavy_batch, remote[heavy]))
        return Plan(
            light=light,
            heavy=heavy,
            direct_ratio=direct,
            deferral_ratio=deferral,
            best_of_two=bool(self.table.best_of_two[allocation.row]),
            tiers=tuple(tiers),
            demand_rps=demand_rps,
            quality=quality,
            light_latency_s=allocation.light_latency_s,
            heavy_latency_s=allocation.heavy_latency_s,
            feasible=feasible,
            reason=reason,
            joules_per_image=image_joules(self.table, allocation.row),
            money_per_image=image_money(self.table, allocation.row, self._gpu_price, self._gpus_per_worker),
        )


def _doubling(start: int, end: int) -> list[int]:
    return [*(start * 2**i for i in range(max(0, math.ceil(math.log2(end / start))))), max(start, end)]
