"""A strategic merge patch of pods, and what in it is refused: what the operator itself needs in a pod (`Ours`).

Which lists are merged, and by which field, stands in Kubernetes' OpenAPI document (x-kubernetes-patch-merge-key); a
test compares. Lists of anything else are replaced.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from hadis.api.fields import Fields

MERGE_KEYS: Mapping[str, str] = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "schedulingGates": "name",
    "resourceClaims": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "env": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
}
PORT_NAME = "http"
"""Of our containers' port, by which Services and probes find it."""
LABEL_PREFIX = "hadis.dev/"
OUR_LABELS = tuple(f"app.kubernetes.io/{name}" for name in ("name", "instance", "component", "managed-by"))
ENTRIES = 64
"""Most entries of a list or map: bounded, for the API server to know what its rules cost."""
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", max_length=63)]


@dataclass(frozen=True)
class Ours:
    """What of a pod is the operator's."""

    container: str
    variables: tuple[str, ...]
    volumes: tuple[str, ...]
    paths: tuple[str, ...]
    """Where the volumes are mounted."""
    init_containers: tuple[str, ...] = ()


class TemplateMetadata(Fields):
    """The part of a pod's metadata that a template may change."""

    labels: dict[str, LabelValue] = Field({}, max_length=ENTRIES, description="As in podLabels.")
    annotations: dict[str, str] = Field({}, max_length=ENTRIES, description="As in podAnnotations.")


class PodTemplate(Fields):
    """A strategic merge patch of the pods."""

    metadata: TemplateMetadata = Field(default_factory=TemplateMetadata)
    spec: dict[str, Any] = Field(
        {},
        description="Merged into the pod's spec as `kubectl patch` does: maps by key, lists of containers, volumes and "
        "variables by name, null takes away.",
    )


def taken(field: str, names: Iterable[object], ours: tuple[str, ...]) -> Iterator[str]:
    """Yield the names of a field that are the operator's own, or stand twice."""
    seen: set[object] = set()
    for name in names:
        if name in ours:
            yield f"{field}: {name} is the operator's own; leave it out"
        if name in seen:
            yield f"{field}: {name} stands twice; write it once"
        seen.add(name)


def label_faults(field: str, labels: Mapping[str, str]) -> Iterator[str]:
    """Yield the labels that are the operator's own."""
    for name in labels:
        if name.startswith(LABEL_PREFIX) or name in OUR_LABELS:
            yield f"{field}: {name} is the operator's own, which finds pods by it; leave it out"


def template_faults(spec: Mapping[str, Any], ours: Ours) -> Iterator[str]:
    """Yield what a template's spec says that cannot be merged, or would change what is the operator's own."""
    where = "podTemplate.spec"
    if faults := list(_shape_faults(where, spec)):  # what follows relies on the shapes
        yield from faults
        return
    if nothing := next((name for name in ("containers", "volumes") if name in spec and spec[name] is None), None):
        yield f"{where}.{nothing}: null would take away what the {ours.container} needs; leave it out"
        return
    if "$patch" in spec:
        yield f"{where}: $patch would replace the pod; write what should be another"
    yield from taken(f"{where}.volumes", (each["name"] for each in spec.get("volumes", ())), ours.volumes)
    if any(each["name"] in ours.init_containers for each in spec.get("initContainers") or ()):
        yield f"{where}.initContainers: {', '.join(ours.init_containers)} is the operator's own; write another name"
    for field in ("containers", "initContainers"):
        for container in spec.get(field) or ():
            yield from _container_faults(f"{where}.{field}.{container['name']}", container, ours)


def _shape_faults(where: str, part: Mapping[str, Any]) -> Iterator[str]:
    for name, value in part.items():
        at, key = f"{where}.{name}", MERGE_KEYS.get(name)
        if key is not None and value is not None:
            items = value if isinstance(value, list | tuple) else (None,)
            if not all(isinstance(item, Mapping) and isinstance(item.get(key), str | int) for item in items):
                yield f"{at}: write a list of objects, each with its {key}, by which they are merged"
                continue
            for item in items:
                yield from _shape_faults(f"{at}.{item[key]}", item)
        elif isinstance(value, Mapping):
            yield from _shape_faults(at, value)
        elif name == "resources" and value is not None:
            yield f"{at}: write an object, as a container has it"


def _container_faults(where: str, container: Mapping[str, Any], ours: Ours) -> Iterator[str]:
    ports = container.get("ports") or ()
    if container["name"] != ours.container:
        if any(port.get("name") == PORT_NAME for port in ports):
            yield f"{where}.ports: the name {PORT_NAME} is that of the {ours.container}'s port; write another"
        return
    if ports:
        yield f"{where}.ports: are the operator's own; leave them out"
    if "$patch" in container:
        yield f"{where}: $patch would take away what the {ours.container} needs; leave it out"
    for field, key, names in (("env", "name", ours.variables), ("volumeMounts", "mountPath", ours.paths)):
        if field in container and not container[field]:
            yield f"{where}.{field}: would take away what the {ours.container} needs; leave it out"
        yield from taken(f"{where}.{field}", (each[key] for each in container.get(field) or ()), names)
