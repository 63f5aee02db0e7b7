"""The streams behind the page, and the page's setting."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hadis.api.resources import Objective
from hadis.planning.pareto import Front
from hadis.planning.profile import Profile
from hadis_router import live
from hadis_router.app import create_app
from test_api import Instant, Scorer, make_app


async def test_who_asks_for_a_front_point_that_is_none_is_told(profile: Profile) -> None:
    app = make_app(profile, Instant())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router") as client,
    ):
        front = (await client.get("/v1/hadis/front")).json()
        assert front["points"]
        for path, code in (("99?demand_rps=1", 404), ("0?demand_rps=nan", 400), ("0?demand_rps=-1", 400), ("x", 400)):
            answer = await client.get(f"/v1/hadis/front/{path}")
            assert answer.status_code == code
            assert answer.json()["error"]["message"]
        gpus = [(await client.get(f"/v1/hadis/front/0?demand_rps={rps}")).json()["gpus"] for rps in (0.1, 100)]
        assert gpus[0] < gpus[1]
        assert (await client.get("/")).status_code == 200


async def test_too_many_listeners_are_refused(profile: Profile) -> None:
    app = make_app(profile, Instant())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router") as client,
    ):
        app.state.history.listeners = live._MOST_LISTENERS
        answer = await client.get("/v1/hadis/events")
        assert answer.status_code == 503
        assert answer.headers["retry-after"]


async def test_the_page_can_be_left_out(profile: Profile) -> None:
    with_page = make_app(profile, Instant())
    manifest: Any = None

    async def states() -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield None

    without = create_app(manifest, states, Scorer(), Instant(), with_page=False)
    paths = [{getattr(route, "path", "") for route in app.routes} for app in (with_page, without)]
    assert "/" in paths[0]
    assert "/" not in paths[1]


def test_the_front_has_no_beaten_point_and_needs_more_for_more(profile: Profile) -> None:
    front = Front(profile, Objective.model_validate({"latency": "20s"}), shared=True)
    costs = [p.gpu_s for p in front.points]
    qualities = [p.quality for p in front.points]
    assert costs == sorted(costs)
    assert qualities == sorted(qualities, reverse=True)
    needs = [front.need(front.points[-1], rps) or 0 for rps in (0.1, 1.0, 10.0, 100.0)]
    assert needs == sorted(needs)
    assert needs[0] < needs[-1]
    assert front.need(front.points[-1], 1e6) is None


@pytest.mark.parametrize("status", [{"plan": None}])
def test_a_point_without_a_plan(status: dict[str, Any]) -> None:
    filled = status | {"observed_rps": 0, "forecast_rps": 0, "latency": {"p50_s": None, "p95_s": None},
                       "queues": {"light": 2}, "answers": {}}  # fmt: skip
    assert json.loads(json.dumps(live.point_of(filled)))["queued"] == 2
