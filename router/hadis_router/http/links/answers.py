"""The links of a request's answers."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import Request

from hadis_router.dispatch.answer import Answer
from hadis_router.http.images import GenerateRequest
from hadis_router.http.links.public_url import public_url
from hadis_router.http.links.service import ImageLinks, Link


async def links_to(request: Request, body: GenerateRequest, answers: Sequence[Answer]) -> list[Link]:
    """Return one link per answer; none where the request wants the images themselves."""
    if not body.wants_links:
        return []
    links: ImageLinks = request.app.state.links
    return await links.save(public_url(request), [answer.image for answer in answers], body.output_format)
