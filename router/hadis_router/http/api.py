"""The HTTP surface: images, models, health, metrics and status."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from hadis_router.dispatch import refusals
from hadis_router.dispatch.answer import ServeError
from hadis_router.http.capabilities import all_sizes
from hadis_router.http.forwarding import age_s, forward, forward_reading, until_disconnected, visitor_of
from hadis_router.http.front_door import RETRY
from hadis_router.http.gateway import Gateway
from hadis_router.http.images import GenerateRequest, answer_body, answer_headers, read_request
from hadis_router.http.metrics import CONTENT_TYPE
from hadis_router.http.status import status_document
from hadis_router.http.streaming import stream_images

router = APIRouter()
_LARGE_BYTES = 512 * 1024
"""Answers whose images are larger than this together are encoded in a thread: base64 takes about 1 ms per megabyte."""


def gateway_of(request: Request) -> Gateway:
    """Return what the handlers share."""
    gateway: Gateway = request.app.state.gateway
    return gateway


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


_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": GenerateRequest.model_json_schema()}},
    }
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "Something in the request is wrong; the message says what"},
    404: {"description": "No such model"},
    413: {"description": "The body is too large"},
    415: {"description": "The body is not declared as JSON"},
    429: {"description": "The queue is too long, or your share of it in use; Retry-After says when to try again"},
    500: {"description": "The image failed"},
    503: {"description": "No worker can make the image now; Retry-After says when to try again"},
    504: {"description": "The deadline passed"},
}
_STREAM = {"description": "The images; with `stream`, one event per image", "content": {"text/event-stream": {}}}


@router.post("/v1/images/generations", openapi_extra=_SCHEMA, responses={200: _STREAM, **_ERRORS})
async def generate(request: Request) -> Response:
    """Make images from a prompt (OpenAI's images API)."""
    gateway = gateway_of(request)
    if gateway.draining:
        raise refusals.stopping()
    arrived = asyncio.get_running_loop().time() - age_s(request)
    content = await _read_body(request, gateway.max_body_bytes)
    if (answer := await forward(gateway, request, content, arrived)) is not None:
        return answer
    body = read_request(content)
    if not request.scope.get(RETRY):
        gateway.metrics.arrived(body.n, body.size)
    visitor = visitor_of(request)
    jobs = await gateway.jobs(body, visitor.client(body.user), arrived, visitor.batch)
    request_id = request.headers.get("x-request-id")
    disconnected = asyncio.ensure_future(until_disconnected(request))
    if body.stream:
        return await stream_images(gateway, body, jobs, disconnected, request_id)
    try:
        with gateway.progress_shown(request_id, jobs):
            answers = await gateway.make(jobs, disconnected)
    finally:
        disconnected.cancel()
    if sum(len(answer.image) for answer in answers) > _LARGE_BYTES:
        content = await asyncio.to_thread(answer_body, body, answers)
    else:
        content = answer_body(body, answers)
    return Response(content, headers=answer_headers(answers[0]), media_type="application/json")


@router.get("/v1/models")
async def models(request: Request) -> JSONResponse:
    """List `auto` and the tiers, each with the sizes that it makes."""
    tiers = gateway_of(request).profile.tiers
    sizes = {"auto": all_sizes(tiers.values())} | {name: list(tier.all_sizes) for name, tier in tiers.items()}
    data = [
        {"id": name, "object": "model", "created": 0, "owned_by": "hadis", "sizes": made}
        for name, made in sizes.items()
    ]
    return JSONResponse({"object": "list", "data": data})


@router.get("/healthz")
async def healthz() -> JSONResponse:
    """Say that the process lives."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", responses={503: {"description": "Not ready; the body says why"}})
async def readyz(request: Request) -> JSONResponse:
    """Say whether requests can be served."""
    reason = gateway_of(request).why_not_ready()
    return JSONResponse({"status": reason or "ok"}, 503 if reason else 200)


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Metrics for Prometheus."""
    return Response(gateway_of(request).metrics.text(), media_type=CONTENT_TYPE)


@router.get("/v1/hadis/status")
async def status(request: Request) -> Response:
    """Say what the plan is, what waits, who works, and how the objective is kept."""
    gateway = gateway_of(request)
    return await forward_reading(gateway, request) or JSONResponse(status_document(gateway))
