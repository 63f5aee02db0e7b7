"""The HTTP surface: images, models, health, metrics and status."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from hadis.protocol.router_status import RouterStatus
from starlette.responses import JSONResponse

from hadis_router.dispatch import refusals
from hadis_router.dispatch.answer import ServeError
from hadis_router.http.access import visitor_of
from hadis_router.http.azure import deployment_path, with_deployment
from hadis_router.http.described_answers import IMAGES, JOB, MODEL, MODELS, errors
from hadis_router.http.entrance import request_id_of
from hadis_router.http.forwarding import age_s, forward, forward_reading, until_disconnected
from hadis_router.http.front_door import RETRY
from hadis_router.http.gateway import Gateway
from hadis_router.http.image_answers import answer_body, answer_headers, request_headers
from hadis_router.http.images import GenerateRequest
from hadis_router.http.jobs.accepting import accept, prefers_job
from hadis_router.http.jobs.record import JobRequest
from hadis_router.http.links.answers import base_of_links, links_to
from hadis_router.http.request_body import check_content_type, check_encoding, read_fields, validated
from hadis_router.http.status import router_status
from hadis_router.http.streaming import stream_images

router = APIRouter()
_LARGE_BYTES = 512 * 1024
"""Answers whose images are larger than this together are encoded in a thread: base64 takes about 1 ms per megabyte."""


def gateway_of(request: Request) -> Gateway:
    """Return what the handlers share."""
    gateway: Gateway = request.app.state.gateway
    return gateway


async def read_body(request: Request, limit: int) -> bytes:
    """Return a JSON body; raise ServeError 415 for another kind, 413 for one of more than `limit` bytes."""
    check_encoding(request.headers.get("content-encoding", ""))
    check_content_type(request.headers.get("content-type", ""))
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
ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "Something in the request is wrong; the message says what"},
    404: {"description": "No such model"},
    409: {"description": "Of a job: its Idempotency-Key was used with another body"},
    413: {"description": "The body is too large"},
    415: {"description": "The body is not declared as JSON"},
    429: {"description": "The queue is too long, or your share of it in use; Retry-After says when to try again"},
    500: {"description": "The image failed"},
    503: {"description": "No worker can make the image now; Retry-After says when to try again"},
    504: {"description": "The deadline passed"},
}


class _AsItIs(APIRoute):
    """A route whose endpoint takes nothing but the request: FastAPI has nothing of it to solve and to check."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the endpoint itself."""
        return self.endpoint


async def generate(request: Request) -> Response:
    """Make images from a prompt (OpenAI's images API)."""
    gateway = gateway_of(request)
    if gateway.draining:
        raise refusals.stopping()
    arrived = asyncio.get_running_loop().time() - age_s(request)
    with gateway.reading:
        content = await read_body(request, gateway.max_body_bytes)
    if (answer := await forward(gateway, request, content, arrived)) is not None:
        return answer
    with gateway.reading:
        kind = JobRequest if prefers_job(request.headers) else GenerateRequest
        body = with_deployment(request, validated(kind, read_fields(content), gateway.strict))
    if isinstance(body, JobRequest):
        return await accept(request, body, arrived)
    return await respond(gateway, request, body, arrived)


_PATH = "/v1/images/generations"
router.add_api_route(
    _PATH,
    generate,
    methods=["POST"],
    openapi_extra=_SCHEMA,
    responses=IMAGES | JOB | errors(ERRORS),
    route_class_override=_AsItIs,
)
router.add_api_route(
    deployment_path(_PATH), generate, methods=["POST"], include_in_schema=False, route_class_override=_AsItIs
)


async def respond(gateway: Gateway, request: Request, body: GenerateRequest, arrived: float) -> Response:
    """Return the answer to a request that was read; raise ServeError. `arrived` is loop time."""
    visitor, request_id = visitor_of(request), request_id_of(request)
    batch = visitor.batch
    with gateway.reading:
        base_url = base_of_links(request, body)
    body = gateway.models.with_size_made(body)
    retry, client = bool(request.scope.get(RETRY)), visitor.client(body.end_user)
    jobs = await gateway.jobs(body, client, arrived, request_id, batch=batch, retry=retry)
    disconnected = asyncio.ensure_future(until_disconnected(request))
    if body.stream:
        stream = await stream_images(gateway, body, jobs, disconnected, request_id)
        stream.headers.update(request_headers(body, jobs[0].params.seed))
        return stream
    with gateway.delivering(jobs):
        try:
            with gateway.under_way.served(request_id, jobs):
                answers = await gateway.make(jobs, disconnected)
        finally:
            disconnected.cancel()
        links = await links_to(request, body, base_url, answers)
    if sum(len(answer.image) for answer in answers) > _LARGE_BYTES:
        content = await asyncio.to_thread(answer_body, body, answers, links)
    else:
        content = answer_body(body, answers, links)
    headers = answer_headers(answers[0]) | request_headers(body, answers[0].seed)
    return Response(content, headers=headers, media_type="application/json")


@router.head("/v1/models", include_in_schema=False)
@router.get("/v1/models", responses=MODELS)
async def models(request: Request) -> JSONResponse:
    """List `auto` and the tiers, each with the sizes that it makes."""
    return JSONResponse(gateway_of(request).models.listing())


@router.head("/v1/models/{model:path}", include_in_schema=False)
@router.get("/v1/models/{model:path}", responses=MODEL | errors({404: ERRORS[404]}))
async def model(request: Request, model: str) -> JSONResponse:
    """Describe one model: auto, a tier, or what a further name of `modelAliases` stands for."""
    return JSONResponse(gateway_of(request).models.document(model))


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz")
async def healthz() -> JSONResponse:
    """Say that the process lives."""
    return JSONResponse({"status": "ok"})


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", responses={503: {"description": "Not ready; the body says why"}})
async def readyz(request: Request) -> JSONResponse:
    """Say whether requests can be served."""
    reason = gateway_of(request).why_not_ready()
    return JSONResponse({"status": reason or "ok"}, 503 if reason else 200)


@router.head("/metrics", include_in_schema=False)
@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Metrics for Prometheus."""
    text, media_type = gateway_of(request).metrics.text(request.headers.get("accept", ""))
    return Response(text, media_type=media_type)


@router.head("/v1/hadis/status", include_in_schema=False)
@router.get("/v1/hadis/status", response_model=RouterStatus)
async def status(request: Request) -> Response:
    """Say what the plan is, what waits, who works, and how the objective is kept."""
    gateway = gateway_of(request)
    elsewhere = await forward_reading(gateway, request)
    return elsewhere or Response(router_status(gateway).json_text(), media_type="application/json")
