"""How a DiffusionService runs in Kubernetes: the parts of its spec that one machine has no use for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from hadis.api.fields import Fields
from hadis.api.links import Links, LongJobs
from hadis.api.names import ExtendedResource, LabelKey, LabelValue, Selector, Subdomain
from hadis.api.pod_rules import rules_of_pods
from hadis.api.pod_template import Ours
from hadis.api.pods import ROUTER, WORKER, PodFields
from hadis.api.quantities import Cpu, Memory
from hadis.api.rules import INSIDE, LONGEST_PATH, Rule


class Autoscaling(Fields):
    """Router replicas by their CPU use."""

    max_replicas: int = Field(ge=1, le=100, description="Never more routers than this many.")
    cpu_percent: int = Field(70, ge=1, le=100, description="CPU use to aim at, of what the routers request.")


class Resources(Fields):
    """What each container asks for and may use."""

    cpu: Cpu | None = Field(None, description="Requested CPU, for example 500m.")
    memory: Memory | None = Field(None, description="Requested memory, and its limit, for example 1Gi.")


class RouterPods(PodFields):
    """The routers of a service."""

    OURS: ClassVar[Ours] = ROUTER
    rules = (
        Rule(
            "!has(self.autoscaling) || self.replicas <= self.autoscaling.maxReplicas",
            lambda pods: pods.autoscaling is None or pods.replicas <= pods.autoscaling.max_replicas,
            "replicas: with autoscaling they are the fewest; write no more than autoscaling.maxReplicas",
        ),
        Rule(
            "!has(self.autoscaling) || has(self.resources.cpu)",
            lambda pods: pods.autoscaling is None or pods.resources.cpu is not None,
            "autoscaling: it follows the CPU that routers request; write resources.cpu",
        ),
        *rules_of_pods(ROUTER),
    )
    replicas: int = Field(
        2,
        ge=1,
        le=100,
        description="Routers to run; with autoscaling the fewest. Up to 127 workers one serves, the others stand by.",
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

    rules = (
        Rule(
            "self.operator != 'Exists' || !has(self.value)",
            lambda toleration: toleration.operator != "Exists" or toleration.value is None,
            "value: the operator Exists takes any; leave value out, or write the operator Equal",
        ),
        Rule(
            "self.operator == 'Exists' || has(self.key)",
            lambda toleration: toleration.operator == "Exists" or toleration.key is not None,
            "key: the operator Equal needs one; write key, or the operator Exists for every taint",
        ),
    )
    key: LabelKey | None = Field(None, description="Key of the taint; none, with the operator Exists: every taint.")
    operator: Literal["Exists", "Equal"] = Field("Equal", description="Exists: any value. Equal: the one in `value`.")
    value: LabelValue | None = Field(None, description="Value of the taint, for the operator Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Effect of the taint; none: every effect."
    )


class ModelCache(Fields):
    """Where workers find and keep models; default: an empty folder that goes with the pod."""

    rules = (
        Rule(
            "!(has(self.claim) && has(self.hostPath))",
            lambda cache: cache.claim is None or cache.host_path is None,
            "write claim or hostPath, not both",
        ),
    )
    claim: Subdomain | None = Field(None, description="A PersistentVolumeClaim that many pods can mount.")
    host_path: Annotated[str, StringConstraints(pattern=r"^/\S+$", max_length=LONGEST_PATH), INSIDE] | None = Field(
        None, description="A folder of the node, where the operator's chart allows it (`worker.allowHostPath`)."
    )
    prefetch: bool = Field(
        False,
        description="Fetch models from the hub before a worker starts, once per claim or node; it then starts without "
        "the network.",
    )


class ResourceClaim(Fields):
    """A claim of devices that each pod gets for itself (dynamic resource allocation)."""

    name: str = Field(min_length=1, max_length=63, description="Name of the claim in the pod.")
    resource_claim_template_name: str = Field(
        min_length=1, max_length=253, description="ResourceClaimTemplate in the service's namespace."
    )
    request: str | None = Field(
        None, min_length=1, max_length=63, description="The one of its requests that the worker gets; default: all."
    )


class WorkerPods(PodFields):
    """The GPU pods of a service."""

    OURS: ClassVar[Ours] = WORKER
    rules = rules_of_pods(WORKER)

    gpu_resource: ExtendedResource = Field("nvidia.com/gpu", description="Extended resource that is one GPU.")
    gpus_per_worker: int = Field(
        1, ge=1, le=64, description="GPUs that each worker takes, in one pod; `gpus.max` counts GPUs, not workers."
    )
    resource_claims: tuple[ResourceClaim, ...] = Field(
        (),
        max_length=8,
        description="Claims by which workers get their GPUs, in place of gpuResource. gpusPerWorker says how many GPUs "
        "the claims of one pod have.",
    )
    shm_size: Memory | None = Field(
        None, description="Size of /dev/shm, which counts as memory; default: what the container runtime gives."
    )
    node_selector: Selector = Field({}, max_length=16, description="Labels that a worker's node must have.")
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
    runtime_class_name: Subdomain | None = Field(
        None, description="RuntimeClass of the pods, for example nvidia; none: the cluster's default."
    )

    @model_validator(mode="after")
    def _leave_gpus(self) -> Self:
        template = self.pod_template.spec if self.pod_template else {}
        for field in ("containers", "initContainers"):
            for container in template.get(field) or ():
                self._check_gpus(f"podTemplate.spec.{field}.{container['name']}.resources", container)
        if "resourceClaims" in template:
            raise ValueError("podTemplate.spec.resourceClaims: write spec.worker.resourceClaims, which is counted")
        return self

    def _check_gpus(self, where: str, container: Mapping[str, Any]) -> None:
        needs = container.get("resources") or {}
        if any(self.gpu_resource in (needs.get(part) or {}) for part in ("requests", "limits")):
            raise ValueError(f"{where}: {self.gpu_resource} is counted by gpusPerWorker; write that")
        if "claims" in needs and container["name"] == self.OURS.container:
            raise ValueError(f"{where}: claims are those of resourceClaims; write that")
