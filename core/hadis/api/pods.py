"""What a team adds to pods of a service, in the words of a pod's spec: the same fields for routers and for workers.

What the operator itself needs in a pod (`Ours`) cannot be set: it is refused here, in words, before any pod is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from hadis.api.fields import Fields
from hadis.api.pod_template import ENTRIES, LabelValue, Ours, PodTemplate, label_faults, taken, template_faults
from hadis.api.rules import Rule

_Text = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
_DnsLabel = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
_DnsName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
_Variable = Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$", max_length=253)]


ROUTER = Ours(
    "router",
    (
        *(f"HADIS_ROUTER_{name}" for name in ("MANIFEST", "KUBERNETES", "HOST", "PORT", "ADDRESS", "SECRET", "KEYS")),
        *(f"HADIS_ROUTER_{name}" for name in ("PUBLIC_URL", "ROOT_PATH", "S3_BUCKET", "S3_ENDPOINT", "S3_REGION")),
        *(f"HADIS_ROUTER_{name}" for name in ("S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "REDIS_PREFIX", "REDIS_URL")),
        *(f"HADIS_ROUTER_{name}" for name in ("WEBHOOK_HOSTS", "WEBHOOK_SECRET")),
    ),
    ("tmp", "manifest", "keys"),
    ("/tmp", "/etc/hadis", "/etc/hadis-keys"),
)
WORKER = Ours(
    "worker",
    (
        *(f"HADIS_WORKER_{name}" for name in ("MANIFEST", "TIERS", "MODELS", "HOST", "PORT", "DRAIN_TIMEOUT")),
        *(f"HADIS_WORKER_{name}" for name in ("COMPILE_CACHE", "THREADS", "SECRET", "API_KEY")),
        *("HF_HOME", "HOME"),
    ),
    ("tmp", "manifest", "models", "shm"),
    ("/tmp", "/etc/hadis", "/models", "/dev/shm"),
    ("fetch",),
)


class EnvVar(Fields):
    """A variable of the container's environment."""

    rules = (
        Rule(
            "!(has(self.value) && has(self.valueFrom))",
            lambda variable: variable.value is None or variable.value_from is None,
            "write value or valueFrom, not both",
        ),
    )
    name: _Variable = Field(description="Name of the variable.")
    value: str | None = Field(None, max_length=32768, description="Its value; $(OTHER) stands for another's.")
    value_from: dict[str, Any] | None = Field(
        None, description="Where the value is: secretKeyRef, configMapKeyRef, fieldRef or resourceFieldRef."
    )


class Source(Fields):
    """A ConfigMap or a Secret in the service's namespace."""

    name: _DnsName = Field(description="Its name.")
    optional: bool | None = Field(None, description="Whether pods start without it.")


class EnvFrom(Fields):
    """Variables for all keys of a ConfigMap or a Secret."""

    rules = (
        Rule(
            "has(self.configMapRef) != has(self.secretRef)",
            lambda source: (source.config_map_ref is None) != (source.secret_ref is None),
            "write one of configMapRef and secretRef",
        ),
    )
    prefix: _Variable | None = Field(None, description="Put before each key.")
    config_map_ref: Source | None = Field(None, description="The ConfigMap.")
    secret_ref: Source | None = Field(None, description="The Secret.")


class Volume(Fields):
    """A volume of the pod; beside its name any one source that Kubernetes knows, as it writes it."""

    model_config = ConfigDict(extra="allow")
    name: _DnsLabel = Field(description="Name of the volume.")


class VolumeMount(Fields):
    """Where the container sees a volume."""

    name: _DnsLabel = Field(description="Name of the volume.")
    mount_path: Annotated[str, StringConstraints(pattern=r"^/[^:]*$", max_length=1024)] = Field(
        description="Path in the container."
    )
    sub_path: _Text | None = Field(None, description="Path in the volume.")
    sub_path_expr: _Text | None = Field(None, description="The same with $(VARIABLE)s of the container.")
    read_only: bool = Field(False, description="Whether the container may not write there.")
    mount_propagation: Literal["None", "HostToContainer", "Bidirectional"] | None = Field(
        None, description="Which mounts the node and the container see of each other."
    )


class Affinity(Fields):
    """Nodes and pods that a pod should be near to, or far from; each as in a pod's spec."""

    node_affinity: dict[str, Any] | None = Field(None, description="Nodes.")
    pod_affinity: dict[str, Any] | None = Field(None, description="Pods to be near to.")
    pod_anti_affinity: dict[str, Any] | None = Field(None, description="Pods to be far from.")


class Spread(Fields):
    """How pods are spread over zones or nodes; beside these any field of a pod's topologySpreadConstraints."""

    model_config = ConfigDict(extra="allow")
    topology_key: _Text = Field(description="Label of nodes, for example topology.kubernetes.io/zone.")
    max_skew: int = Field(1, ge=1, description="How many pods two values of the label may be apart.")
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"] = Field(
        "ScheduleAnyway", description="What to do with a pod that no node suits."
    )
    label_selector: dict[str, Any] | None = Field(
        None, description="Pods that are counted; default: the service's routers, or its workers."
    )


class LocalReference(Fields):
    """An object in the service's namespace."""

    name: _DnsName = Field(description="Its name.")


class PodFields(Fields):
    """What is added to pods of a service."""

    OURS: ClassVar[Ours]

    env: tuple[EnvVar, ...] = Field((), max_length=ENTRIES, description="Variables of the container.")
    env_from: tuple[EnvFrom, ...] = Field(
        (), max_length=ENTRIES, description="Variables of the container from whole ConfigMaps and Secrets."
    )
    volumes: tuple[Volume, ...] = Field((), max_length=ENTRIES, description="Volumes of the pods.")
    volume_mounts: tuple[VolumeMount, ...] = Field(
        (), max_length=ENTRIES, description="Where the container sees volumes."
    )
    pod_labels: dict[str, LabelValue] = Field({}, max_length=ENTRIES, description="Labels of the pods.")
    pod_annotations: dict[str, str] = Field({}, max_length=ENTRIES, description="Annotations of the pods.")
    priority_class_name: _DnsName | None = Field(None, description="PriorityClass of the pods.")
    affinity: Affinity | None = Field(None, description="Nodes and pods to be near to, or far from.")
    topology_spread_constraints: tuple[Spread, ...] = Field(
        (), max_length=16, description="How the pods are spread over zones or nodes."
    )
    service_account_name: _DnsName | None = Field(None, description="ServiceAccount of the pods.")
    image_pull_secrets: tuple[LocalReference, ...] = Field(
        (), max_length=16, description="Secrets for the images' registry, beside those of the chart."
    )
    pod_template: PodTemplate | None = Field(
        None, description="Any further change to the pods, as a strategic merge patch."
    )

    @model_validator(mode="after")
    def _leave_ours(self) -> Self:
        for fault in self._faults():
            raise ValueError(fault)
        return self

    def _faults(self) -> Iterator[str]:
        """Yield what is set that is the operator's own, or twice."""
        ours = self.OURS
        yield from taken("env", (each.name for each in self.env), ours.variables)
        yield from taken("volumes", (each.name for each in self.volumes), ours.volumes)
        yield from taken("volumeMounts", (each.mount_path for each in self.volume_mounts), ours.paths)
        yield from label_faults("podLabels", self.pod_labels)
        if self.pod_template is not None:
            yield from label_faults("podTemplate.metadata.labels", self.pod_template.metadata.labels)
            yield from template_faults(self.pod_template.spec, ours)
