"""The Pareto front for the page: its points, and how many GPUs one of them would need."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse

from hadis_router.dispatch.answer import ServeError
from hadis_router.http.api import gateway_of

router = APIRouter(include_in_schema=False)


@router.get("/v1/hadis/front")
async def points(request: Request) -> JSONResponse:
    """Return the points of the front, the tiers, and the least and greatest difficulty of the profile."""
    gateway = gateway_of(request)
    spec = gateway.profile.resource.spec
    document = {
        "points": [asdict(point) for point in gateway.front.points],
        "tiers": [{"name": tier.name, "sizes": tier.all_sizes} for tier in spec.tiers],
        "difficulty": [spec.difficulty.score_quantiles[0], spec.difficulty.score_quantiles[-1]],
    }
    return JSONResponse(document)


@router.get("/v1/hadis/front/{index}")
async def gpus(
    request: Request, index: int, demand_rps: Annotated[float, Query(ge=0, le=1e6, allow_inf_nan=False)]
) -> JSONResponse:
    """Return how many GPUs a point of the front needs at a demand in requests per second."""
    front = gateway_of(request).front
    if not 0 <= index < len(front.points):
        raise ServeError(404, "not_found", f"the front has {len(front.points)} points", param="index")
    count = await asyncio.to_thread(front.need, front.points[index], demand_rps)
    return JSONResponse({"gpus": count})
