"""OpenAI's edits and variations: images from images, by the same queues and cascade as those from text.

The difficulty of an edit is that of its prompt: what is asked for is as hard to draw, and pixels are not decoded here.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from hadis.api.tier import MOST_EDIT_IMAGES

from hadis_router.dispatch import refusals
from hadis_router.dispatch.answer import ServeError
from hadis_router.http.api import ERRORS, gateway_of, respond
from hadis_router.http.described_answers import IMAGES, errors
from hadis_router.http.edit_request import EditRequest, VariationRequest, read_edit
from hadis_router.http.forwarding import age_s, forward
from hadis_router.http.image_bodies import HeldBody, held_body
from hadis_router.http.jobs.accepting import prefers_job

router = APIRouter()
_FORM, _JSON = "multipart/form-data", "application/json"
_FILE = {"type": "string", "format": "binary"}
_REFERENCE = {
    "description": "base64, a data: URL, or an object with one; nothing is fetched from elsewhere.",
    "anyOf": [{"type": "string"}, {"type": "object", "properties": {"image_url": {"type": "string"}}}],
}
_Request = TypeVar("_Request", bound=EditRequest)
Held = Annotated[HeldBody, Depends(held_body)]


def _document(kind: type[EditRequest], form: dict[str, Any], embedded: dict[str, Any]) -> dict[str, Any]:
    """Return how a body looks that has these images in a form, or embedded in JSON; the first of them it must have."""
    content = {}
    for media_type, images in ((_FORM, form), (_JSON, embedded)):
        schema = kind.model_json_schema()
        for name in ("image", "images", "mask"):  # refused where images are made of text alone
            schema["properties"].pop(name)
        schema["properties"] |= images
        schema["required"] = [*schema.get("required", []), next(iter(images))]
        content[media_type] = {"schema": schema}
    return {"requestBody": {"required": True, "content": content}}


def _several(one: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": one, "minItems": 1, "maxItems": MOST_EDIT_IMAGES}


def _described(schema: dict[str, Any], text: str) -> dict[str, Any]:
    """Return a schema whose description begins with a sentence."""
    return schema | {"description": f"{text}. {schema.get('description', '')}".strip()}


_IMAGE, _IMAGES = "The image to begin from", "The images to begin from, or the one"
_MASK = "Where it is fully transparent, the first image is made anew"
_EDIT = _document(
    EditRequest,
    {"image": _described({"anyOf": [_FILE, _several(_FILE)]}, _IMAGES), "mask": _described(_FILE, _MASK)},
    {"images": _described(_several(_REFERENCE), _IMAGES), "mask": _described(_REFERENCE, _MASK)},
)
_VARIATION = _document(
    VariationRequest, {"image": _described(_FILE, _IMAGE)}, {"image": _described(_REFERENCE, _IMAGE)}
)
_ANSWERS = IMAGES | errors({**ERRORS, 415: {"description": "The body is declared as neither a form nor JSON"}})


@router.post("/v1/images/edits", openapi_extra=_EDIT, responses=_ANSWERS)
async def edit(request: Request, body: Held) -> Response:
    """Make images from images and a prompt (OpenAI's images API)."""
    return await _answer(EditRequest, request, body)


@router.post("/v1/images/variations", openapi_extra=_VARIATION, responses=_ANSWERS)
async def vary(request: Request, body: Held) -> Response:
    """Make images from an image alone (OpenAI's images API)."""
    return await _answer(VariationRequest, request, body)


async def _answer(kind: type[EditRequest], request: Request, body: HeldBody) -> Response:
    gateway = gateway_of(request)
    if gateway.draining:
        raise refusals.stopping()
    arrived = asyncio.get_running_loop().time() - age_s(request)
    content_type = request.headers.get("content-type", "")
    with gateway.reading:
        if content_type.partition(";")[0].strip().lower() not in (_FORM, _JSON):
            raise ServeError(415, "invalid_content_type", f"content-type is {content_type!r}; send {_FORM} or {_JSON}")
    read = await _read(kind, request, body, content_type, arrived)
    if isinstance(read, Response):
        return read
    if prefers_job(request.headers):  # a job keeps no images
        read.ignoring((*read.ignored, "prefer"))
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
        return await asyncio.to_thread(read_edit, kind, content_type, content, gateway.strict)
