"""What a pod's environment says of traces: where its service's spec, or else the operator's settings, has them sent."""

from __future__ import annotations

from hadis.api.resources import ServiceSpec
from hadis.api.tracing import Tracing, trace_variables

from hadis_operator.children.common import Manifest, Owner
from hadis_operator.settings import OperatorSettings


def trace_env(owner: Owner, spec: ServiceSpec, settings: OperatorSettings) -> list[Manifest]:
    """Return the variables; none where traces are off."""
    tracing = spec.tracing
    if tracing is None and settings.tracing_endpoint:
        tracing = Tracing(endpoint=settings.tracing_endpoint, sample_ratio=settings.tracing_sample_ratio)
    attributes = {"k8s.namespace.name": owner.namespace, "hadis.service": owner.name}
    return [{"name": name, "value": value} for name, value in trace_variables(tracing, attributes).items()]
