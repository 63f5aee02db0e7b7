"""The status of a DiffusionService: the document that the operator writes, and that the CRD is generated from."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydantic import Field, ValidationError

from hadis.api.conditions import Condition
from hadis.api.fields import Fields
from hadis.planning.plan import Plan
from hadis.planning.rollout import Canary, Rollout

CHANGES_KEPT = 20


class PlanStatus(Fields):
    """Two plans: the one that routes on the workers that are ready, and the one that workers are sized by."""

    active: Plan | None = Field(None, description="The plan that routes on the workers that are ready.")
    target: Plan | None = Field(None, description="The plan for the demand that is coming.")
    summary: str = Field("", description="The active plan in a few words.")
    quality: str = Field("", description="Predicted distance of the active plan, for people; lower is better.")


class DemandStatus(Fields):
    """Requests per second."""

    observed_rps: float = Field(0.0, description="Requests per second that came lately.")
    forecast_rps: float = Field(0.0, description="Requests per second to have GPUs for.")


class FetchStatus(Fields):
    """Models that are being fetched before workers start."""

    pods: int = Field(0, description="Pods that wait for their models; 0: nothing is being fetched.")
    files: int = Field(0, description="Files that are there.")
    bytes: int = Field(0, description="Bytes that are there.")


class PlanChange(Fields):
    """A change of plan."""

    time: str = Field(description="When (RFC 3339).")
    summary: str = Field(description="The new plan in one line.")
    reason: str = Field(description="Why it was chosen.")


class ServiceStatus(Fields):
    """The status of a DiffusionService."""

    observed_generation: int = Field(0, description="Generation of the spec that this status is of.")
    conditions: tuple[Condition, ...] = Field(
        (),
        description="What holds, since when, and why.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    plan: PlanStatus = Field(default_factory=PlanStatus, description="The plans in force.")
    demand: DemandStatus = Field(default_factory=DemandStatus, description="The demand as the operator reads it.")
    gpus: str = Field("", description="GPUs ready / existing / allowed.")
    money_per_hour: float | None = Field(
        None, description="Money per hour of the GPUs that workers hold, with `objective.gpuPrice`."
    )
    workers: int = Field(0, description="GPUs that workers hold, as the scale subresource reports them.")
    selector: str = Field("", description="Selector of their pods, for autoscalers that read the scale subresource.")
    desired_by_tier: dict[str, int] = Field(
        {}, description="Desired workers of each tier; after a restart the operator goes on from here."
    )
    ready_by_tier: dict[str, int] = Field({}, description="Workers that are ready for each tier.")
    batch_time_ratios: dict[str, dict[str, float]] = Field(
        {}, description="By tier and batch size: the times that plans count on, divided by the profile's."
    )
    size_shares: dict[str, float] = Field(
        {}, description="Shares of the image sizes that plans count on; none: each tier's first size alone."
    )
    restricted_shares: dict[str, float] = Field(
        {},
        description="By tiers, with commas between: the share of requests only for them, as plans count on it.",
    )
    start_seconds: float | None = Field(
        None, description="With `gpus.idleAfter`, seconds until a first worker is ready: as last time, or estimated."
    )
    fetch: FetchStatus = Field(default_factory=FetchStatus, description="Models that are being fetched.")
    profile_hash: str = Field("", description="Content hash of the profile that was planned with.")
    rollout: Rollout | None = Field(None, description="How far the last new profile has come; with spec.rollout.")
    canary: Canary | None = Field(None, description="What routers need to try the new profile.")
    changes: tuple[PlanChange, ...] = Field((), description=f"The last {CHANGES_KEPT} changes of plan.")


def read_status(
    document: Mapping[str, object], left_out: Callable[[str, str], None] = lambda part, why: None
) -> ServiceStatus:
    """Return a status as an operator of any version wrote it.

    Fields that this version does not know are ignored; `left_out` gets the name of each part of another form, and why.
    """
    parts = {}
    for name, value in document.items():
        try:
            ServiceStatus.model_validate({name: value}, extra="ignore")
        except ValidationError as error:
            first = error.errors()[0]
            left_out(name, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        else:
            parts[name] = value
    return ServiceStatus.model_validate(parts, extra="ignore")
