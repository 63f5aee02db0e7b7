"""What a service may not ask of this operator, though its manifest is right: the platform's choice, by the chart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hadis.api.pods import PodFields
from hadis.api.resources import ServiceSpec
from hadis.planning.snapshot import Problem

from hadis_operator.settings import OperatorSettings


def permitted(spec: ServiceSpec | Problem, settings: OperatorSettings) -> ServiceSpec | Problem:
    """Return a spec, or why it is not acted on."""
    if isinstance(spec, ServiceSpec) and not settings.allow_host_path and (path := next(_host_paths(spec), None)):
        return Problem(
            "HostPathNotAllowed",
            f"{path}: pods may not mount folders of their nodes here; write a claim, or set worker.allowHostPath in "
            "the values of the operator's chart; what runs goes on as it is",
        )
    return spec


def _host_paths(spec: ServiceSpec) -> Iterator[str]:
    """Yield the fields by which pods would mount folders of their nodes."""
    if spec.worker.model_cache.host_path:
        yield "worker.modelCache.hostPath"
    for name, pods in (("worker", spec.worker), ("router", spec.router)):
        for volume in _volumes(pods):
            if isinstance(volume, dict) and volume.get("hostPath"):
                yield f"{name}: volume {volume.get('name')}"


def _volumes(pods: PodFields) -> Iterator[Any]:
    """Yield the volumes of both kinds of fields."""
    for volume in pods.volumes:
        yield volume.model_dump(by_alias=True)
    if pods.pod_template is not None:
        yield from pods.pod_template.spec.get("volumes") or []
