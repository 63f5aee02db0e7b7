"""The links of a request's answers."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import Request

from hadis_router.dispatch.answer import Answer
from hadis_router.http.images import GenerateRequest
from hadis_router.http.links.public_url import public_url
from hadis_router.http.links.service import ImageLinks, Link


def base_of_links(request: Request, body: GenerateRequest) -> str | None:
    """Return the URL that a request's links begin with, None where it has none; raise ServeError 400 for its Host."""
    return public_url(request) if body.saves_images else None


async def links_to(
    request: Request, body: GenerateRequest, base_url: str | None, answers: Sequence[Answer]
) -> list[Link]:
    """Return one link per answer, none without a base; raise ServeError where the images cannot be saved."""
    if base_url is None:
        return []
    links: ImageLinks = request.app.state.links
    return await links.save(base_url, [answer.image for answer in answers], body.output_format)
