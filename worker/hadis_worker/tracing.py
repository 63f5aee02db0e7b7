"""Spans of batches, by OpenTelemetry; imported only where traces are on.

A batch's span goes on with the trace that its router says (`traceparent`), and its parts are below it. No span says
what a prompt is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from hadis.protocol.worker import GenerateBatch
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from hadis_worker.steps import Steps

_PROPAGATOR = TraceContextTextMapPropagator()


class BatchSpans:
    """Makes the spans of a batch when it has ended: the times of its parts are known then."""

    def __init__(self, provider: TracerProvider) -> None:
        """Send them to a provider."""
        self._tracer = provider.get_tracer("hadis.worker")

    def begin(self, headers: Mapping[str, str], batch: GenerateBatch) -> Callable[[Steps, str | None], None]:
        """Return what is to be called at the end of a batch that begins now, with its steps and why it failed."""
        began_ns, parent = time.time_ns(), _PROPAGATOR.extract(headers, Context())
        attributes: dict[str, str | int | bool] = {
            "hadis.tier": batch.tier,
            "hadis.batch_size": len(batch.jobs),
            "hadis.discriminate": batch.discriminate,
        }

        def end(steps: Steps, error: str | None) -> None:
            span = self._tracer.start_span("batch", parent, SpanKind.SERVER, attributes, start_time=began_ns)
            within = set_span_in_context(span, parent)
            for part in steps.parts:
                self._tracer.start_span(part.name, within, start_time=part.began_ns).end(part.ended_ns)
            if error is not None:
                span.set_status(Status(StatusCode.ERROR, error))
            span.end()

        return end
