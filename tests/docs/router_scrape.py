"""A router with a plan and no worker, as the reference asks it: its routes, and one scrape of its metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
from documents import profile_document
from fastapi import FastAPI
from hadis.api.manifest import Manifest
from hadis.api.resources import API_VERSION, CascadeProfile, DiffusionService
from hadis.planning.plan import Plan, TierPlan
from hadis.protocol.run_state import RunState
from hadis_router.app import create_app

_TIERS = TierPlan("light", 1, 4), TierPlan("heavy", 1, 4)
_PLAN = Plan("light", "heavy", 0.0, 0.0, _TIERS, 1.0, 25.0, 1.0, 2.0, joules_per_image=9.0, money_per_image=0.001)
_SERVICE = {
    "apiVersion": API_VERSION,
    "kind": "DiffusionService",
    "metadata": {"name": "two"},
    "spec": {
        "profile": "two",
        "objective": {"latency": "60s"},
        "gpus": {"max": 2},
        "qualityWatch": {},
    },
}


class _Scorer:
    async def score_off_loop_if_long(self, prompt: str) -> float:
        return 0.0


async def _states() -> AsyncIterator[RunState]:
    yield RunState(_PLAN, ())
    await asyncio.Event().wait()


def router_app() -> FastAPI:
    """Return a router's application, not started."""
    profile = CascadeProfile.read(profile_document())
    return create_app(Manifest(DiffusionService.read(_SERVICE), profile, Path()), _states, _Scorer())


async def router_exposition() -> str:
    """Return what a started router's `/metrics` says after one request that failed, so that each label is there."""
    app = router_app()
    http = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=http, base_url="http://router") as client:
        await asyncio.sleep(0)  # the router takes its plan
        refused = await client.post("/v1/images/generations", json={"prompt": "a circle"})
        assert refused.status_code == 503, refused.text
        return (await client.get("/metrics")).text
