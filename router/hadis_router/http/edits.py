"""OpenAI's edits and variations: images from images, by the same queues and cascade as those from text.

The difficulty of an edit is that of its prompt: what is asked for is as hard to draw, and pixels are not decoded here.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from hadis.api.edits import MOST_EDIT_IMAGES

from hadis_router.dispatch import refusals
from hadis_router.http.api import ERRORS, gateway_of, respond
from hadis_router.http.azure import deployment_path, with_deployment
from hadis_router.http.described_answers import IMAGES, JOB, errors
from hadis_router.http.edit_request import EditRequest, VariationRequest, read_edit
from hadis_router.http.forwarding import age_s, forward
from hadis_router.http.image_bodies import HeldBody, held_body
from hadis_router.http.jobs.accepting import accept, prefers_job
from hadis_router.http.jobs.record import EditJobRequest, JobRequest, VariationJobRequest
from hadis_router.http.request_body import FORM, JSON, check_edit_type

router = APIRouter()
_FILE = {"type": "string", "format": "binary"}
_REFERENCE = {
    "description": "base64, a data: URL, or an object with one; nothing is fetched from elsewhere.",
    "anyOf": [{"type": "string"}, {"type": "object", "properties": {"image_url": {"type": "string"}}}],
}
_Request = TypeVar("_Request", bound=EditRequest)
Held = Annotated[HeldBody, Depends(held_body)]


def _content(kind: type[EditRequest], form: dict[str, Any], embedded: dict[str, Any]) -> dict[str, Any]:
    """Return how a body looks that has these images in a form, or embedded in JSON; the first of them it must have."""
    content = {}
    for media_type, images in ((FORM, form), (JSON, embedded)):
        schema = kind.model_json_schema()
        for name in ("image", "images", "mask"):  # refused where images are made of text alone
            schema["properties"].pop(name)
        schema["properties"] |= images
        schema["required"] = [*schema.get("required", []), next(iter(images))]
        content[media_type] = {"schema": schema}
    return content


def body_of(content: dict[str, Any]) -> dict[str, Any]:
    """Return what the OpenAPI document says of a request whose body looks so by its media type."""
    return {"requestBody": {"required": True, "content": content}}


def _several(one: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": one, "minItems": 1, "maxItems": MOST_EDIT_IMAGES}


def _described(schema: dict[str, Any], text: str) -> dict[str, Any]:
    """Return a schema whose description begins with a sentence."""
    return schema | {"description": f"{text}. {schema.get('description', '')}".strip()}


_IMAGE, _IMAGES = "The image to begin from", "The images to begin from, or the one"
_MASK = "Where it is fully transparent, the first image is made anew"


def edit_content(kind: type[EditRequest]) -> dict[str, Any]:
    """Return how the body of an edit looks, by its media type."""
    return _content(
        kind,
        {"image": _described({"anyOf": [_FILE, _several(_FILE)]}, _IMAGES), "mask": _described(_FILE, _MASK)},
        {"images": _described(_several(_REFERENCE), _IMAGES), "mask": _described(_REFERENCE, _MASK)},
    )


_EDIT = body_of(edit_content(EditRequest))
_VARIATION = body_of(
    _content(VariationRequest, {"image": _described(_FILE, _IMAGE)}, {"image": _described(_REFERENCE, _IMAGE)})
)
NEITHER: dict[int | str, dict[str, Any]] = {415: {"description": "The body is declared as neither a form nor JSON"}}
_ANSWERS = IMAGES | JOB | errors({**ERRORS, **NEITHER})


@router.post(deployment_path("/v1/images/edits"), include_in_schema=False)
@router.post("/v1/images/edits", openapi_extra=_EDIT, responses=_ANSWERS)
async def edit(request: Request, body: Held) -> Response:
    """Make images from images and a prompt (OpenAI's images API)."""
    return await _answer(EditJobRequest if prefers_job(request.headers) else EditRequest, request, body)


@router.post("/v1/images/variations", openapi_extra=_VARIATION, responses=_ANSWERS)
async def vary(request: Request, body: Held) -> Response:
    """Make images from an image alone (OpenAI's images API)."""
    return await _answer(VariationJobRequest if prefers_job(request.headers) else VariationRequest, request, body)


async def _answer(kind: type[EditRequest], request: Request, body: HeldBody) -> Response:
    gateway = gateway_of(request)
    if gateway.draining:
        raise refusals.stopping()
    arrived = asyncio.get_running_loop().time() - age_s(request)
    content_type = request.headers.get("content-type", "")
    with gateway.reading:
        check_edit_type(content_type)
    read = await _read(kind, request, body, content_type, arrived)
    if isinstance(read, Response):
        return read
    if isinstance(read, JobRequest):
        return await accept(request, read, arrived, body)
    return await respond(gateway, request, read, arrived)


async def _read(
    kind: type[_Request], request: Request, body: HeldBody, content_type: str, arrived: float
) -> _Request | Response:
    """Return the request, or the answer of the router that it was forwarded to; keeps nothing else of the body."""
    gateway = gateway_of(request)
    with gateway.reading:
        content = await body.read(request)
    if (answer := await forward(gateway, request, content, arrived)) is not None:
        return answer
    with gateway.reading:
        return with_deployment(request, await asyncio.to_thread(read_edit, kind, content_type, content, gateway.strict))
