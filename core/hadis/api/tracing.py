"""Where a service's traces go: a part of its spec."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from hadis.api.fields import Fields, Share


class Tracing(Fields):
    """Traces of requests, by OpenTelemetry."""

    endpoint: str = Field(
        pattern=r"^https?://\S+$",
        description="A collector that takes OTLP over HTTP, for example http://collector.monitoring:4318.",
    )
    sample_ratio: Share = Field(
        1.0, description="Share of the requests that are traced, of those that come without a trace of their own."
    )


def trace_variables(tracing: Tracing | None, attributes: Mapping[str, str]) -> dict[str, str]:
    """Return OpenTelemetry's variables for a process of a service; none without `tracing`.

    `attributes` tell of every span where it is from.
    """
    if tracing is None:
        return {}
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": tracing.endpoint,
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": f"{tracing.sample_ratio:g}",
        "OTEL_RESOURCE_ATTRIBUTES": ",".join(f"{name}={value}" for name, value in attributes.items()),
    }
