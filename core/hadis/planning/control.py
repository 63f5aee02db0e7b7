"""The control loop's state machine: readings in, numbered plan out. No I/O, so that `hadis up`, the operator and the
replay run the same one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from hadis.api.fields import parse_duration_s
from hadis.api.resources import ServiceSpec
from hadis.planning.forecast import Forecaster
from hadis.planning.plan import Plan, TierPlan
from hadis.planning.profile import Profile
from hadis.planning.routing import Route, cached_routing
from hadis.planning.scaling import Scaling
from hadis.planning.solve import Solver
from hadis.planning.table import cached_table


class Controller:
    """Plans for one service: what routes on the workers that are ready, and how many GPUs to have."""

    def __init__(self, profile: Profile, spec: ServiceSpec, *, shared: bool) -> None:
        """Prepare the solver and an empty forecast."""
        self._solver = Solver(profile, spec.objective, shared=shared)
        self._routing = cached_routing(self._solver.table, self._solver.criterion, shared=shared)
        # Whole GPUs are too coarse for the finer grid to matter, and many counts are compared.
        measured = cached_table(profile, parse_duration_s(spec.objective.latency))
        self._scaling = Scaling(cached_routing(measured, self._solver.criterion, shared=False))
        self._change_s = {tier.name: tier.load_seconds for tier in profile.tiers.values()}
        self._gpus, self._shared = spec.gpus, shared
        self._down_s = parse_duration_s(spec.scale_down_after)
        self._wanted: deque[tuple[float, int]] = deque()
        # A plan holds until the next one, which is in force when the jobs of its first seconds are done.
        self._demand = Forecaster(horizon_s=parse_duration_s(spec.plan_every))
        self.plan: Plan | None = None
        self.goal: Plan | None = None

    @property
    def observed_rps(self) -> float:
        """Demand of the last seconds."""
        return self._demand.observed_rps

    @property
    def forecast_rps(self) -> float:
        """Demand to have GPUs for."""
        return self._demand.forecast_rps

    @property
    def informed(self) -> bool:
        """Whether enough was read for the demand to mean anything."""
        return self._demand.informed

    def resume(self, now_s: float, plan: Plan | None, gpus: int) -> None:
        """Go on after a restart from the plan that was in force and the GPUs that there are."""
        self.plan = plan
        self._wanted.append((now_s, gpus))

    def learn_from(self, other: Controller) -> None:
        """Take over the demand that another controller of the same service has read."""
        self._demand = other._demand

    def step(
        self, now_s: float, arrivals_total: float, ready: Mapping[str, int], queued_s: Mapping[str, float]
    ) -> Plan:
        """Take a reading and return the plan that routes; its generation grows only when it routes differently.

        `ready` are the GPUs by tier that may be used now (on shared GPUs each counts for every tier it has), `queued_s`
        the GPU seconds of work that wait by tier.
        """
        self.observe(now_s, arrivals_total)
        return self.route(ready, queued_s)

    def observe(self, now_s: float, arrivals_total: float) -> None:
        """Take a reading of the demand without planning for it yet."""
        self._demand.update(now_s, arrivals_total)

    def route(self, ready: Mapping[str, int], queued_s: Mapping[str, float]) -> Plan:
        """Return the plan for other workers at the demand that was last read."""
        demand, before = self._demand.observed_rps, self.plan
        pair = (before.light, before.heavy) if before else None
        route = self._routing.choose(demand, ready, queued_s, pair)
        if route is None:  # the solver says why
            plan = self._solver.solve(demand, max(ready.values(), default=0))
        else:
            plan = self._routed(route, demand, ready)
        same = before is not None and plan.routes_like(before)
        self.plan = plan.numbered(1 if before is None else before.generation + (not same))
        return self.plan

    def target(self, now_s: float, gpus: int, ready: Mapping[str, int], assigned: Mapping[str, int]) -> dict[str, int]:
        """Return the GPUs to have by tier for the demand that is coming, at most `gpus` in all.

        `assigned` are the GPUs by tier that there are, those that still load or drain for a tier included. On shared
        GPUs the sum alone counts. `goal` keeps the solver's plan, with its reason, for people to read.
        """
        within = max(0, min(gpus, self._gpus.max))
        self.goal = self._solver.solve(self._demand.forecast_rps, within, min(self._gpus.min, within), self.goal)
        wish = {tier.tier: tier.count for tier in self.goal.tiers}
        total = min(within, self._most_lately(now_s, self.goal.gpus))
        if self._shared:
            return {self.goal.light: total}
        if not any(ready.values()) or not self.goal.feasible:
            return wish
        counts = self._scaling.resize(self._demand.forecast_rps, assigned, total)
        return self._scaling.move(self._demand.forecast_rps, ready, counts, self._change_s)

    def _most_lately(self, now_s: float, gpus: int) -> int:
        """Return the most GPUs that were wanted within the window: fewer are believed when they lasted."""
        self._wanted.append((now_s, gpus))
        while self._wanted and self._wanted[0][0] < now_s - self._down_s:
            self._wanted.popleft()
        return max(wanted for _, wanted in self._wanted)

    def _routed(self, route: Route, demand_rps: float, ready: Mapping[str, int]) -> Plan:
        light, heavy, direct, deferral, quality = self._solver.table.row(route.row)
        if self._shared:
            total = max(ready.values())
            work = route.light_gpus + route.heavy_gpus
            part = round(total * route.light_gpus / work) if work else total
            light_count = min(max(part, int(light == heavy or direct < 1)), total - int(light != heavy and total > 1))
            counts = light_count, total - light_count
        else:
            counts = ready.get(light, 0), ready.get(heavy, 0)
        tiers = [TierPlan(light, counts[0], route.light_batch)]
        if heavy != light:
            tiers.append(TierPlan(heavy, counts[1], route.heavy_batch))
        load = f"{route.light_gpus + route.heavy_gpus:.3g} of {sum(t.count for t in tiers)} GPUs' time"
        why = "best quality" if route.keeps_up else "too few GPUs are ready"
        return Plan(
            light, heavy, direct, deferral, tuple(tiers), demand_rps, quality, route.light_latency_s,
            route.heavy_latency_s, route.keeps_up, f"{why}: {demand_rps:.3g} requests/s take {load}",
        )  # fmt: skip


def is_shared(spec: ServiceSpec, profile: Profile) -> bool:
    """Return whether every worker keeps every tier: as the spec says, or where the tiers fit in memory together."""
    if spec.placement is not None:
        return spec.placement == "Shared"
    memory = profile.resource.spec.gpu_memory_bytes
    return memory == 0 or sum(tier.memory_bytes for tier in profile.resource.spec.tiers) <= memory
