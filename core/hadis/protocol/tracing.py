"""Where traces go (OpenTelemetry), by the standard variables alone; off until one of them names a collector.

Router and worker ask `is_on` first: where nobody looks at traces, its SDK is not imported. The operator
and `hadis up` set the variables from a service's `spec.tracing` (`hadis.api.tracing`).
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HTTP = "http/protobuf"
_EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_SHUTDOWN_S = 3.0


def is_on(environment: Mapping[str, str]) -> bool:
    """Return whether traces are to be sent; raise ValueError where they are, and that is not possible."""
    off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if off or environment.get("OTEL_TRACES_EXPORTER", "otlp").strip() not in ("", "otlp"):
        return False
    variable = next((name for name in ENDPOINTS if environment.get(name, "").strip()), None)
    if variable is None:
        return False
    protocol = next((value for name in _PROTOCOLS if (value := environment.get(name, "").strip())), _HTTP)
    if protocol != _HTTP:
        raise ValueError(f"traces are sent by {_HTTP} (port 4318 of a collector), not by {protocol}")
    try:
        importlib.import_module(_EXPORTER)
    except ImportError:
        raise ValueError(
            f"{variable} is set, but OpenTelemetry is not installed; pip install 'hadis[tracing]'"
        ) from None
    return True


async def end_traces(provider: TracerProvider) -> None:
    """Send what is left, for a few seconds at most: a collector that is away must not hold up a process that ends."""
    # Not one of the loop's own threads, for which the process would wait.
    thread = threading.Thread(target=provider.shutdown, daemon=True)
    thread.start()
    await asyncio.to_thread(thread.join, _SHUTDOWN_S)


def make_provider(service_name: str) -> TracerProvider:
    """Return what makes spans and sends them from a thread of its own, out of a queue that is bounded (OTEL_BSP_*).

    Its `shutdown` sends what is left. `service_name` is said unless OTEL_SERVICE_NAME is set. Needs `is_on`.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    said = Resource({SERVICE_NAME: service_name}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=Resource.create().merge(said), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
