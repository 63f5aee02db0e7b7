"""What a DiffusionService's status says: the plans as documents, conditions, and the last changes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from pydantic.alias_generators import to_camel, to_snake

from hadis.api.fields import Fields
from hadis.planning.plan import Plan

CHANGES_KEPT = 20


class TierPlanStatus(Fields):
    """One tier in a plan."""

    tier: str
    count: int = Field(description="GPUs that may run the tier at one time.")
    batch: int = Field(description="Largest batch.")


class PlanStatus(Fields):
    """A plan."""

    light: str
    heavy: str
    direct_ratio: float
    deferral_ratio: float
    tiers: tuple[TierPlanStatus, ...] = ()
    demand_rps: float
    quality: float
    light_latency_s: float
    heavy_latency_s: float
    feasible: bool = True
    reason: str = ""
    generation: int = 0


class Plans(Fields):
    """Two plans: the one that routes on what is ready, and the one that pods are made for."""

    active: PlanStatus | None = None
    target: PlanStatus | None = None
    summary: str = Field("", description="The active plan in a few words.")


class Condition(Fields):
    """As Kubernetes' own: what holds, since when, and why."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    last_transition_time: str
    observed_generation: int = 0


class Demand(Fields):
    """Requests per second."""

    observed_rps: float = 0.0
    forecast_rps: float = 0.0


class Change(Fields):
    """A change of plan."""

    time: str
    summary: str
    reason: str


class ServiceStatus(Fields):
    """The status of a DiffusionService."""

    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    plan: Plans = Field(default_factory=Plans)
    demand: Demand = Field(default_factory=Demand)
    gpus: str = Field("", description="GPUs ready / existing / allowed.")
    wanted_by_tier: dict[str, int] = Field({}, description="Workers to have; the operator goes on from here.")
    ready_by_tier: dict[str, int] = {}
    changes: tuple[Change, ...] = Field((), description=f"The last {CHANGES_KEPT} changes of plan.")


def plan_document(plan: Plan) -> dict[str, Any]:
    """Return a plan as the status holds it."""
    document = {to_camel(name): value for name, value in plan.to_dict().items()}
    for name, value in document.items():
        if isinstance(value, float):
            document[name] = float(f"{value:.4g}")
    return document | {"tiers": list(document["tiers"])}  # what is read back, so that it is seen to be the same


def plan_from_document(document: dict[str, Any]) -> Plan:
    """Return the plan of a status; raise ValueError for a document of another form."""
    return Plan.from_dict({to_snake(name): value for name, value in document.items()})


def headline(plan: Plan) -> str:
    """Return a plan's tiers and routing in one line."""
    return summary(plan) if plan.light == plan.heavy else f"{plan.light} + {plan.heavy}, {summary(plan)}"


def summary(plan: Plan) -> str:
    """Return a plan's routing in a few words."""
    if plan.light == plan.heavy:
        return f"{plan.light} alone"
    return f"direct {plan.direct_ratio:.0%}, deferral {plan.deferral_ratio:.0%}"
