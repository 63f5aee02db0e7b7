"""The HTTP surface: images, models, health, metrics and status."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from hadis_router.images import GenerateRequest, answer_body, answer_headers, read_request
from hadis_router.job import ServeError
from hadis_router.metrics import CONTENT_TYPE
from hadis_router.service import Service, status_document
from hadis_router.streaming import stream_images

router = APIRouter()
_LARGE_BYTES = 512 * 1024
"""Images larger than this together are put into JSON beside the loop: base64 takes about 1 ms for a megabyte."""


def service_of(request: Request) -> Service:
    """Return what the handlers share."""
    service: Service = request.app.state.service
    return service


async def _read_body(request: Request, limit: int) -> bytes:
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise ServeError(415, "invalid_content_type", f"content-type is {kind!r}; send application/json")
    parts, total = [], 0
    async for part in request.stream():
        total += len(part)
        if total > limit:
            raise ServeError(413, "body_too_large", f"the body is larger than {limit} bytes")
        parts.append(part)
    return b"".join(parts)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": GenerateRequest.model_json_schema()}},
    }
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"description": text}
    for code, text in (
        (400, "Something in the request is wrong; the message says what"), (404, "No such model"),
        (413, "The body is too large"), (415, "The body is not declared as JSON"),
        (429, "The queue is full or too long; Retry-After says when to come again"), (500, "The image failed"),
        (503, "No worker is ready"), (504, "The deadline passed"),
    )
}  # fmt: skip


_STREAM = {"description": "The images; with `stream`, an event each", "content": {"text/event-stream": {}}}


@router.post("/v1/images/generations", openapi_extra=_SCHEMA, responses={200: _STREAM, **_ERRORS})
async def generate(request: Request) -> Response:
    """Make images from a prompt (OpenAI's images API)."""
    service = service_of(request)
    if service.draining:
        raise ServeError(503, "stopping", "this router is stopping; try again", 1)
    asked = read_request(await _read_body(request, service.max_body_bytes))
    service.metrics.arrived(asked.n)
    jobs = await service.jobs(asked)
    gone = asyncio.ensure_future(_gone(request))
    if asked.stream:
        return await stream_images(service, asked, jobs, gone, request.headers.get("x-request-id"))
    try:
        with service.followed(request.headers.get("x-request-id"), jobs):
            answers = await service.make(jobs, gone)
    finally:
        gone.cancel()
    if sum(len(answer.image) for answer in answers) > _LARGE_BYTES:
        body = await asyncio.to_thread(answer_body, asked, answers)
    else:
        body = answer_body(asked, answers)
    return Response(body, headers=answer_headers(answers[0]), media_type="application/json")


@router.get("/v1/models")
async def models(request: Request) -> JSONResponse:
    """List `auto` and the tiers."""
    names = ["auto", *service_of(request).profile.tiers]
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "hadis"} for name in names]
    return JSONResponse({"object": "list", "data": data})


@router.get("/healthz")
async def healthz() -> JSONResponse:
    """Say that the process lives."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", responses={503: {"description": "Not ready; the body says why"}})
async def readyz(request: Request) -> JSONResponse:
    """Say whether requests can be served."""
    why = service_of(request).why_not_ready()
    return JSONResponse({"status": why or "ok"}, 503 if why else 200)


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Metrics for Prometheus."""
    return Response(service_of(request).metrics.text(), media_type=CONTENT_TYPE)


@router.get("/v1/hadis/status")
async def status(request: Request) -> JSONResponse:
    """Say what the plan is, what waits, who works, and how the objective is kept."""
    return JSONResponse(status_document(service_of(request)))
