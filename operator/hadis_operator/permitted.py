"""What a service may not ask of this operator, though its manifest is right: the platform's choice, by the chart."""

from __future__ import annotations

from hadis.api.resources import ServiceSpec
from hadis.planning.snapshot import Problem

from hadis_operator.settings import OperatorSettings


def permitted(spec: ServiceSpec | Problem, settings: OperatorSettings) -> ServiceSpec | Problem:
    """Return a spec, or why it is not acted on."""
    if isinstance(spec, ServiceSpec) and spec.worker.model_cache.host_path and not settings.allow_host_path:
        return Problem(
            "HostPathNotAllowed",
            "worker.modelCache.hostPath: pods may not mount folders of their nodes here; write a claim, or set "
            "worker.allowHostPath in the values of the operator's chart; what runs goes on as it is",
        )
    return spec
