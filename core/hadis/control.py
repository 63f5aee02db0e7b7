"""The control loop's state machine: readings in, numbered plan out. No I/O, so that `hadis up`, the operator and the
replay run the same one.
"""

from __future__ import annotations

from hadis.demand import Forecaster
from hadis.fields import parse_duration_s
from hadis.plan import Plan
from hadis.profile import Profile
from hadis.resources import ServiceSpec
from hadis.solve import Solver

REFINE = 4
"""Steps of the grid of ratios are quartered: the quality between measured rows is close to linear."""


class Controller:
    """Plans for one service."""

    def __init__(self, profile: Profile, spec: ServiceSpec, *, shared: bool) -> None:
        """Prepare the solver and an empty forecast."""
        self._solver = Solver(profile, spec.objective, shared=shared, refine=REFINE)
        self._gpus = spec.gpus
        self._slo_s = parse_duration_s(spec.objective.latency)
        # A plan holds until the next one, which is in force when the jobs of its first seconds are done.
        self._demand = Forecaster(horizon_s=parse_duration_s(spec.plan_every))
        self.plan: Plan | None = None

    @property
    def observed_rps(self) -> float:
        """Demand of the last seconds."""
        return self._demand.observed_rps

    @property
    def forecast_rps(self) -> float:
        """Demand that the plan is made for."""
        return self._demand.forecast_rps

    def step(self, now_s: float, arrivals_total: float, gpus_ready: int, backlog: int = 0) -> Plan:
        """Take a reading and return the plan; its generation grows only when it routes or batches differently.

        `backlog` is the number of jobs that wait. More than half an SLO's worth of them counts as demand that must be
        worked off within one SLO, beside what arrives.
        """
        self._demand.update(now_s, arrivals_total)
        forecast = self._demand.forecast_rps
        excess = max(0.0, backlog - forecast * self._slo_s / 2) / self._slo_s
        plan = self._solver.solve(forecast + excess, min(gpus_ready, self._gpus.max), self._gpus.min, self.plan)
        same = self.plan is not None and plan.routes_like(self.plan)
        generation = 1 if self.plan is None else self.plan.generation + (not same)
        self.plan = plan.numbered(generation)
        return self.plan


def is_shared(spec: ServiceSpec, profile: Profile) -> bool:
    """Return whether every worker keeps every tier: as the spec says, or where the tiers fit in memory together."""
    if spec.placement is not None:
        return spec.placement == "Shared"
    memory = profile.resource.spec.gpu_memory_bytes
    return memory == 0 or sum(tier.memory_bytes for tier in profile.resource.spec.tiers) <= memory
