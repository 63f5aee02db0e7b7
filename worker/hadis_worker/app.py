"""The worker's HTTP routes: generate, status, health and metrics; thin, what they do is in `service`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from hadis.protocol.batch_request import MOST_BATCH_BYTES, decode_batch
from hadis.protocol.parts import CONTENT_TYPE
from hadis.protocol.previews import HEADER, read_counts
from hadis.protocol.tracing import end_traces
from hadis.protocol.worker import GenerateBatch
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.types import Receive, Scope, Send

from hadis_worker.errors import BatchError, BusyError, NotReadyError, UnknownTierError
from hadis_worker.secret_door import SecretDoor
from hadis_worker.service import RunningBatch, WorkerService

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from hadis_worker.tracing import BatchSpans

_BATCH = {"schema": GenerateBatch.model_json_schema()}
_BODY = {
    # With inputs, the JSON is the first part, and they are the others.
    "requestBody": {"required": True, "content": {"application/json": _BATCH, "multipart/mixed": _BATCH}}
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Parts with the steps done so far and previews, a JSON part with every result, a part per image",
        "content": {CONTENT_TYPE: {}},
    },
    400: {"description": "Something in the batch is wrong; the message says what"},
    401: {"description": "The worker has a secret, and the caller does not show it"},
    404: {"description": "The worker does not have the tier"},
    413: {"description": "The body is too large"},
    409: {"description": "Another batch runs; nothing was begun"},
    503: {"description": "Models load, or the worker drains"},
}


def create_app(worker: WorkerService, secret: str | None = None, traces: TracerProvider | None = None) -> FastAPI:
    """Return the application of one worker, which starts to load with it.

    With a `secret`, batches and the status are only for those who show it. `traces` takes spans, if traces are on, and
    is shut down at the end.
    """
    spans = None if traces is None else _batch_spans(traces)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        worker.start()
        # Starlette loads what it streams answers by when it is first used; the first batch should not wait for that.
        await run_in_threadpool(lambda: None)
        yield
        worker.close()
        if traces is not None:
            await end_traces(traces)

    app = FastAPI(title="HADIS worker", lifespan=lifespan, docs_url=None, redoc_url=None)

    @app.post("/generate", openapi_extra=_BODY, responses=_ANSWERS)
    async def generate(request: Request) -> Response:
        """Make the images of a batch, one batch at a time; a caller that disconnects stops it at its next step."""
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > MOST_BATCH_BYTES:
                return _error(413, f"the body is larger than {MOST_BATCH_BYTES} bytes")
        try:
            batch = decode_batch(request.headers.get("content-type", ""), bytes(body))
            batch = batch.with_previews(read_counts(request.headers.get(HEADER), len(batch.jobs)))
        except ValueError as error:
            return _error(400, "; ".join(str(error).splitlines()))
        try:
            if spans is None:
                return _BatchResponse(worker.begin(batch))
            return _BatchResponse(worker.begin(batch, spans.begin(request.headers, batch)))
        except BatchError as error:
            return _error(400, str(error))
        except UnknownTierError as error:
            return _error(404, str(error))
        except BusyError as error:
            return _error(409, str(error))
        except NotReadyError as error:
            return _error(503, str(error))

    @app.get("/status")
    async def status() -> Response:
        """Say which tiers are resident, and whether the worker is ready, busy or draining."""
        return JSONResponse(worker.status().model_dump(by_alias=True))

    @app.get("/healthz")
    async def healthz() -> Response:
        """Say that the process lives; 503 once its GPU is broken."""
        return PlainTextResponse(worker.broken or "ok", 503 if worker.broken else 200)

    @app.get("/readyz")
    async def readyz() -> Response:
        """Say whether batches can be taken; 503 says why not."""
        return PlainTextResponse(worker.not_ready or "ok", 503 if worker.not_ready else 200)

    @app.get("/metrics")
    async def metrics() -> Response:
        """Metrics for Prometheus."""
        return Response(worker.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    if secret is not None:
        app.add_middleware(SecretDoor, secret=secret)
    return app


class _BatchResponse(StreamingResponse):
    """Streams the answer to a batch, which ends with it: also where the caller is gone before the first part."""

    def __init__(self, batch: RunningBatch) -> None:
        super().__init__(batch.parts(), media_type=CONTENT_TYPE)
        self._batch = batch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._batch.cancel()


def _batch_spans(traces: TracerProvider) -> BatchSpans:
    from hadis_worker.tracing import BatchSpans  # it imports OpenTelemetry

    return BatchSpans(traces)


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status)
