"""The Pareto front behind the page."""

from __future__ import annotations

import httpx
from hadis.api.resources import Objective
from hadis.planning.pareto import Front
from hadis.planning.profile import Profile
from test_api import Instant, make_app


async def test_a_point_that_does_not_exist_is_a_clear_error(profile: Profile) -> None:
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
