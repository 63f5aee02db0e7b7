"""What makes two requests alike: every field that changes what is made, and whose they are.

A key is a digest: nothing of a prompt can be read from it. The plan is no part of it, so that the answer of a request
serves the next one whatever the plan is by then.
"""

from __future__ import annotations

import hashlib
import json

from hadis.api.cache import CacheSpec

from hadis_router.dispatch.answer import ServeError
from hadis_router.dispatch.edit import EditInputs
from hadis_router.http.access import Visitor
from hadis_router.http.images import GenerateRequest
from hadis_router.http.models import ModelNames
from hadis_router.http.repeats.service import Repeats
from hadis_router.http.request_body import read_request

_FIELDS = (
    "prompt",
    "negative_prompt",
    "size",
    "num_inference_steps",
    "guidance_scale",
    "output_format",
    "output_compression",
)
"""Beside model, quality and seed, which are looked at for what they mean."""


def repeat_keys(
    request: GenerateRequest, spec: CacheSpec, forced_tier: str | None, client: str, edit_digest: str | None
) -> list[bytes | None]:
    """Return the key of each of a request's images; None for one that is like no other.

    Without a seed that is every one, unless `spec` says otherwise: two such requests ask for two pictures, and so do
    the images of one. `edit_digest` is that of what the images are made from, if they are.
    """
    if request.seed is None and not spec.unseeded:
        return [None] * request.n
    alike = request.model_dump(include=set(_FIELDS), mode="json")
    whose = None if spec.across_clients else client
    of_all = [alike, forced_tier, request.preference, whose, edit_digest]
    pictures = [["number", i] if request.seed is None else ["seed", request.seed + i] for i in range(request.n)]
    return [hashlib.sha256(json.dumps([*of_all, *picture]).encode()).digest() for picture in pictures]


def is_repeat(repeats: Repeats, models: ModelNames, visitor: Visitor, body: bytes) -> bool:
    """Return whether the pictures that a body asks for are all there or under way; False for any other body."""
    if repeats.spec is None or not body:
        return False
    try:
        request = models.with_size_made(read_request(body))
        forced_tier = models.forced_tier(request.model)
    except ServeError:
        return False
    keys = repeat_keys(request, repeats.spec, forced_tier, visitor.client(request.end_user), None)
    return all(key is not None and repeats.has(key) for key in keys)


def edit_digest(edit: EditInputs) -> str:
    """Return a digest of what an edit is made from; takes a millisecond per megabyte."""
    digest = hashlib.sha256(json.dumps([edit.strength, edit.mask is not None, len(edit.images)]).encode())
    for image in (*edit.images, *([edit.mask] if edit.mask is not None else ())):
        digest.update(len(image).to_bytes(8, "big"))
        digest.update(image)
    return digest.hexdigest()
