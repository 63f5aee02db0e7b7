"""How a DiffusionService runs in Kubernetes: the parts of its spec that one machine has no use for."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from hadis.api.fields import Fields
from hadis.api.links import Links, LongJobs

Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")]


class Autoscaling(Fields):
    """Router replicas by their CPU use."""

    max_replicas: int = Field(ge=1, le=100, description="Never more routers than this many.")
    cpu_percent: int = Field(70, ge=1, le=100, description="CPU use to aim at, of what the routers request.")


class Resources(Fields):
    """What each container asks for and may use."""

    cpu: Quantity | None = Field(None, description="Requested CPU, for example 500m.")
    memory: Quantity | None = Field(None, description="Requested memory, and its limit, for example 1Gi.")


class RouterPods(Fields):
    """The routers of a service."""

    replicas: int = Field(
        2,
        ge=1,
        le=100,
        description="Routers to run; with autoscaling the fewest. Up to 127 workers one serves, others stand by.",
    )
    autoscaling: Autoscaling | None = Field(None, description="Let a HorizontalPodAutoscaler move the replicas.")
    resources: Resources = Resources(cpu="500m", memory="512Mi")
    allow_from_anywhere: bool = Field(
        True,
        description="False: a NetworkPolicy lets in only pods of this namespace, the operator, and Prometheus as the "
        "chart's prometheus.pods names it.",
    )
    links: Links = Field(default_factory=Links)
    jobs: LongJobs = Field(default_factory=LongJobs)


class Toleration(Fields):
    """A taint of nodes that workers may run on, as in a pod's spec."""

    key: str | None = Field(None, description="Key of the taint; none, with the operator Exists: every taint.")
    operator: Literal["Exists", "Equal"] = Field("Equal", description="Exists: any value. Equal: the one in `value`.")
    value: str | None = Field(None, description="Value of the taint, for the operator Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Effect of the taint; none: every effect."
    )


class ModelCache(Fields):
    """Where workers find and keep models; default: an empty folder that goes with the pod."""

    claim: str | None = Field(None, min_length=1, description="A PersistentVolumeClaim that many pods can mount.")
    host_path: str | None = Field(None, pattern=r"^/\S+$", description="A folder of the node.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.claim and self.host_path:
            raise ValueError("modelCache: write claim or hostPath, not both")
        return self


class WorkerPods(Fields):
    """The GPU pods of a service."""

    gpu_resource: str = Field("nvidia.com/gpu", min_length=1, description="Extended resource that is one GPU.")
    node_selector: dict[str, str] = Field({}, description="Labels that a worker's node must have.")
    tolerations: tuple[Toleration, ...] = Field(
        (), max_length=32, description="Taints of nodes that workers may run on."
    )
    resources: Resources = Field(default_factory=Resources)
    remote_resources: Resources = Field(
        default_factory=Resources,
        description="The same of the pods of remote tiers, which have no GPU; default: 100m and 512Mi, or, where a "
        "discriminator judges their images, 1 and 4Gi.",
    )
    model_cache: ModelCache = Field(default_factory=ModelCache)
    runtime_class_name: str | None = Field(
        None, min_length=1, description="RuntimeClass of the pods, for example nvidia; none: the cluster's default."
    )
