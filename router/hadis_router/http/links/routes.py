"""`/v1/hadis/images/...`: the images behind links, at whichever router is asked."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from hadis_router.http.forwarding import ask_owner
from hadis_router.http.links.service import PATH, ImageLinks

router = APIRouter()


@router.head(PATH + "{name}", include_in_schema=False, response_class=Response)
@router.get(
    PATH + "{name}",
    response_class=Response,
    responses={200: {"content": {"image/*": {}}}, 404: {"description": "The link has expired, or the image is gone"}},
)
async def image(request: Request, name: str) -> Response:
    """Send the image of an answer's `url`."""
    links: ImageLinks = request.app.state.links
    if (elsewhere := await ask_owner(request.app.state.gateway, request, links.owner(name))) is not None:
        return elsewhere
    stored, left_s = await links.image(name)
    kind = stored.media_type.rpartition("/")[2]
    headers = {
        "cache-control": f"private, max-age={left_s}, immutable",
        "content-disposition": f'inline; filename="hadis-{name[8:16]}.{kind}"',
        "x-content-type-options": "nosniff",
    }
    return Response(stored.content, headers=headers, media_type=stored.media_type)
