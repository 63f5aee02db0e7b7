"""One profile under one objective, made ready to plan: which row routes now, and which workers to have. Pure.

Two questions with two answers: thresholds change at once, so the plan that routes is chosen for the workers that are
ready; workers take time, so the plan that scales is chosen for the demand that is coming.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from hadis.api.fields import parse_duration_s
from hadis.api.resources import Gpus, Objective
from hadis.planning.allocation import Allocation
from hadis.planning.forecast import Demand
from hadis.planning.plan import Plan, rounded
from hadis.planning.profile import Profile
from hadis.planning.routing import Route, cached_routing
from hadis.planning.scaling import Scaling
from hadis.planning.solve import Solver
from hadis.planning.table import cached_table
from hadis.planning.tuning import Tuning


class Planner:
    """Chooses plans; holds arrays, and nothing that changes."""

    def __init__(
        self,
        profile: Profile,
        objective: Objective,
        *,
        shared: bool,
        every_s: float,
        tuning: Tuning,
        gpus_per_worker: int = 1,
    ) -> None:
        """Prepare the tables: some megabytes and tens of milliseconds, so use `planner_for`."""
        slo_s = parse_duration_s(objective.latency)
        self._shared = shared
        self._gpus_per_worker = gpus_per_worker
        self._solver = Solver(profile, objective, shared=shared, tuning=tuning, gpus_per_worker=gpus_per_worker)
        criterion = self._solver.criterion
        self._routing = cached_routing(self._solver.table, criterion, shared=shared, every_s=every_s, tuning=tuning)
        # Whole GPUs are too coarse for the finer grid to matter, and many counts are compared.
        measured = cached_table(profile, slo_s)
        self._scaling = Scaling(
            cached_routing(measured, criterion, shared=False, every_s=every_s, tuning=tuning), tuning=tuning
        )
        self._change_s = {tier.name: tier.load_seconds for tier in profile.tiers.values()}
        self._slots = profile.slots

    def demand_rps(self, demand: Demand) -> float:
        """Return the demand to route for: see `routing` for why dedicated GPUs follow each burst."""
        return demand.current_rps if self._shared else demand.observed_rps

    @property
    def tiers(self) -> list[str]:
        """Names from light to heavy."""
        return self._routing.names

    def route(
        self,
        demand_rps: float,
        ready: Mapping[str, int],
        capacity: Mapping[str, float],
        queued_s: Mapping[str, float],
        former: Plan | None,
        *,
        keeps: bool = True,
    ) -> Plan:
        """Return the plan that routes; its generation grows only when it routes differently than `former`.

        Its row and its pair are left only for a gain where it `keeps`: it was chosen for this objective and profile.

        `ready` are the workers by tier that may be used now (on shared workers each counts for every tier it has),
        `capacity` what they do in workers of usual speed, `queued_s` the GPU seconds of waiting work by tier.
        """
        route = self._routing.choose(demand_rps, capacity, queued_s, former if keeps else None)
        if route is None:  # the solver says why
            plan = self._solver.solve(demand_rps, self._gpus(ready))
        else:
            plan = self._routed(route, demand_rps, ready)
        same = former is not None and plan.routes_like(former)
        return plan.numbered(1 if former is None else former.generation + (not same))

    def target(self, forecast_rps: float, gpus: Gpus, former: Plan | None) -> Plan:
        """Return the plan for a demand, on the fewest GPUs that it needs within the bounds."""
        return self._solver.solve(forecast_rps, gpus.max, gpus.min, former)

    def workers_by_tier(
        self,
        target: Plan,
        forecast_rps: float,
        total: int,
        ready: Mapping[str, int],
        assigned: Mapping[str, int],
        capacity: Mapping[str, float],
    ) -> dict[str, int]:
        """Return `total` workers with GPUs by tier. On shared workers the sum alone counts.

        `ready` are the workers that serve now, `capacity` what they do in workers of usual speed; `assigned` those to
        have so far, on their way to a tier included.
        """
        local = self._routing.local_names
        if self._shared or len(local) < 2:
            used = [name for name in (target.light, target.heavy, *local) if name in local]
            return {used[0]: total} if used else {}
        ready = {name: count for name, count in ready.items() if name in local}
        if target.feasible and not any(ready.values()) and total == sum(assigned.values()) > 0:
            return dict(assigned)  # on their way: to send them elsewhere before they arrive would go on for ever
        # Where too few GPUs are ready, they move for a gain only, too: to send all elsewhere leaves nobody to serve.
        if not any(ready.values()):
            counts = {tier.tier: tier.count for tier in target.tiers if not tier.remote}
            return counts if counts else self._scaling.resize(forecast_rps, {}, total)
        speeds = {name: capacity[name] / count for name, count in ready.items() if count and name in capacity}
        counts = self._scaling.resize(forecast_rps, assigned, total, speeds)
        return self._scaling.move(forecast_rps, ready, counts, self._change_s, speeds)

    def _gpus(self, ready: Mapping[str, int]) -> int:
        """Return the GPUs that are ready, on shared workers: each counts for every tier that it has."""
        return max((count for tier, count in ready.items() if tier not in self._slots), default=0)

    def _routed(self, route: Route, demand_rps: float, ready: Mapping[str, int]) -> Plan:
        light, heavy, *_ = self._solver.table.row(route.row)
        remote = self._slots.keys() & {light, heavy}
        if self._shared and not remote:
            light_count, heavy_count = _shared_counts(route, light == heavy, self._gpus(ready))
            heavy_count = heavy_count if heavy != light else 0
        else:
            light_count, heavy_count = ready.get(light, 0), (ready.get(heavy, 0) if heavy != light else 0)
        of_tier = (light, light_count, route.light_gpus), (heavy, heavy_count, route.heavy_gpus)
        gpus = self._gpus(ready) if self._shared else sum(n for tier, n, _ in of_tier if tier not in remote)
        allocation = Allocation(
            row=route.row,
            gpus=gpus,
            light_count=light_count,
            heavy_count=heavy_count,
            light_batch=route.light_batch,
            heavy_batch=route.heavy_batch,
            light_latency_s=route.light_latency_s,
            heavy_latency_s=route.heavy_latency_s,
        )
        on_gpus = [part for tier, _, part in of_tier if tier not in remote]
        each = self._gpus_per_worker
        loads = [f"{rounded(sum(on_gpus) * each)} of {gpus * each} GPUs' time"] if on_gpus else []
        loads += [
            f"{rounded(part)} of {count} slots of {tier}" for tier, count, part in of_tier if tier in remote and part
        ]
        why = self._solver.routing_reason(route.row) if route.keeps_up else "too few GPUs are ready"
        reason = f"{why}: {rounded(demand_rps)} requests/s take {', '.join(loads) or 'nothing'}"
        return self._solver.plan_of(allocation, demand_rps, reason, feasible=route.keeps_up)


def _shared_counts(route: Route, alone: bool, total: int) -> tuple[int, int]:
    """Return how many of `total` workers may run each tier: its part of the work, rounded, and each used one at least.

    On few workers they overlap: of two, a light tier with a fifth of the work may not keep one from the heavy tier.
    """
    work = route.light_gpus + route.heavy_gpus
    if alone or not work:
        return total, 0 if alone else min(1, total)
    part = total * route.light_gpus / work
    return max(round(part), int(route.light_gpus > 0)), max(1, round(total - part))


@lru_cache(maxsize=64)
def planner_for(
    profile: Profile, objective: Objective, *, shared: bool, every_s: float, tuning: Tuning, gpus_per_worker: int = 1
) -> Planner:
    """Return the planner that all services with the same profile, objective and period (seconds) use."""
    return Planner(profile, objective, shared=shared, every_s=every_s, tuning=tuning, gpus_per_worker=gpus_per_worker)
