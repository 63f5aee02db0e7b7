"""The prompts that a service keeps, for API keys that may read them (`prompts=read`), and for nobody else."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from hadis_router.dispatch.answer import ServeError
from hadis_router.http.access import visitor_of
from hadis_router.http.api import gateway_of
from hadis_router.http.forwarding import forward_reading
from hadis_router.http.prompt_sample import KeptPrompts

router = APIRouter()


@router.get("/v1/hadis/prompts", response_model=KeptPrompts, responses={403: {"description": "Not for this key"}})
async def prompts(request: Request) -> Response:
    """Return the prompts that the service keeps (`promptSample`), for an API key that may read them."""
    gateway, key = gateway_of(request), visitor_of(request).key
    if key is None or not key.reads_prompts:
        message = "this API key may not read prompts; one with prompts=read in the service's access.keys may"
        raise ServeError(403, "prompts_not_yours", message)
    if gateway.prompts.spec is None:
        raise ServeError(404, "no_prompts", "no prompts are kept; write spec.promptSample in the service")
    elsewhere = await forward_reading(gateway, request)
    headers = {"cache-control": "no-store"}
    return elsewhere or Response(gateway.prompts.kept().model_dump_json(), 200, headers, "application/json")
