"""Spans of requests and of their jobs, by OpenTelemetry; imported only where traces are on.

    request --- admission --- queue --- light --- queue --- heavy
                                          \\--- the worker's spans

A request's span goes on with the trace that its client says (`traceparent`), and its jobs' spans are below it, one
after the other. Jobs of several requests share a batch: the worker's spans are in the trace of the first, and the
spans of the others are linked with that one. No span says what the prompt is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from opentelemetry.context import Context, get_current
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hadis_router.dispatch.trace import JobTrace
from hadis_router.http.front_door import wants_images
from hadis_router.http.peer_client import TRACE_HEADERS

_PROPAGATOR = TraceContextTextMapPropagator()
_CARRIED = (b"traceparent", b"tracestate")
_TIER, _CONFIDENCE = "hadis.tier", "hadis.confidence"


class RequestSpans:
    """Gives each request for images a span, which is the parent of its jobs' spans."""

    def __init__(self, app: ASGIApp, provider: TracerProvider) -> None:
        """Stand before an application."""
        self._app, self._tracer = app, provider.get_tracer("hadis.router")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back."""
        if scope["type"] != "http" or not wants_images(scope):
            await self._app(scope, receive, send)
            return
        parent = _PROPAGATOR.extract(_carried(scope), Context())
        state = scope.setdefault("state", {})
        attributes = {"http.request.method": "POST", "hadis.request_id": state.get("request_id", "")}
        with self._tracer.start_as_current_span(
            "POST",
            parent,
            SpanKind.SERVER,
            attributes,
            record_exception=False,  # an error's words may hold a prompt
            set_status_on_exception=False,
        ) as span:
            state[TRACE_HEADERS] = headers_in(get_current())

            async def send_and_note(message: Message) -> None:
                if message["type"] == "http.response.start":
                    _note_answer(span, scope, message["status"])
                await send(message)

            try:
                await self._app(scope, receive, send_and_note)
            except Exception as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise


class JobSpans:
    """One job's spans, of which at most one is open."""

    def __init__(self, provider: TracerProvider, parent: Context, clock_ns: Callable[[], int] = time.time_ns) -> None:
        """Be below the span in `parent`; `clock_ns` gives Unix time."""
        self._provider, self._tracer = provider, provider.get_tracer("hadis.router")
        self._parent, self._clock_ns = parent, clock_ns
        self._open: Span | None = None
        self._in_batch = False
        self._batches = 0

    def arrived(self, age_s: float) -> JobSpans:
        """Begin with its admission, for which it has waited `age_s` seconds; return itself."""
        self._begin("admission", age_s=age_s)
        return self

    @property
    def trace_id(self) -> str | None:
        """The trace that the job is of, in hex, if it is kept."""
        context = get_current_span(self._parent).get_span_context()
        return f"{context.trace_id:032x}" if context.trace_flags.sampled else None

    @property
    def headers(self) -> Mapping[str, str]:
        """By which a worker goes on with the trace, while the job is in a batch."""
        return headers_in(self._parent if self._open is None else set_span_in_context(self._open, self._parent))

    def admitted(self, tier: str, reason: str, difficulty: float | None) -> None:
        """Say what was decided, and end the admission."""
        if self._open is not None:
            self._open.set_attributes({_TIER: tier, "hadis.tier_reason": reason})
            if difficulty is not None:
                self._open.set_attribute("hadis.difficulty", difficulty)
        self._end()

    def waits(self, tier: str) -> None:
        """Wait in a tier's queue; a batch that made no image has failed."""
        self._end("not made" if self._in_batch else None)
        self._begin("queue", {_TIER: tier, "hadis.attempt": self._batches + 1})

    def runs(self, part: str, tier: str, worker: str, size: int) -> None:
        """Be in a batch."""
        self._end()
        self._batches += 1
        attributes: dict[str, str | int] = {
            _TIER: tier,
            "hadis.worker": worker,
            "hadis.batch_size": size,
            "hadis.attempt": self._batches,
        }
        self._begin(part, attributes, SpanKind.CLIENT)
        self._in_batch = True

    def joins(self, others: Sequence[JobTrace]) -> None:
        """Link the batch's span with those of the other jobs in it."""
        for other in others:
            if isinstance(other, JobSpans) and self._open is not None and other._open is not None:
                self._open.add_link(other._open.get_span_context())

    def made(self, confidence: float | None) -> None:
        """End the batch's span."""
        if self._open is not None and confidence is not None:
            self._open.set_attribute(_CONFIDENCE, confidence)
        self._end()

    def ended(self, how: str) -> None:
        """End what is open, for the job is over."""
        self._end(None if how == "answered" else how)

    def stand_in(self) -> JobSpans:
        """Return the spans of a job that makes an image in its place."""
        return JobSpans(self._provider, self._parent, self._clock_ns)

    def _begin(
        self,
        name: str,
        attributes: Mapping[str, str | int] | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        age_s: float = 0.0,
    ) -> None:
        start_ns = self._clock_ns() - round(age_s * 1e9)
        self._open = self._tracer.start_span(name, self._parent, kind, attributes, start_time=start_ns)

    def _end(self, error: str | None = None) -> None:
        if self._open is not None:
            if error is not None:
                self._open.set_status(Status(StatusCode.ERROR, error))
            self._open.end(self._clock_ns())
        self._open, self._in_batch = None, False


def job_spans(provider: TracerProvider) -> Callable[[float], JobSpans]:
    """Return what makes the spans of a job of the request that is handled, by when (loop time) it arrived."""

    def new(arrived: float) -> JobSpans:
        return JobSpans(provider, get_current()).arrived(asyncio.get_running_loop().time() - arrived)

    return new


def headers_in(context: Context) -> dict[str, str]:
    """Return the headers that say a context's trace; none without one."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, context)
    return carrier


def _carried(scope: Scope) -> dict[str, str]:
    return {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _CARRIED}


def _note_answer(span: Span, scope: Scope, status: int) -> None:
    route = getattr(scope.get("route"), "path", None)
    if route is not None:  # not the path itself: clients may write anything there
        span.update_name(f"POST {route}")
        span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))
