"""A new profile that is tried: it routes its share of the requests by its own ratios, and both are counted."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace

import httpx
import pytest
from documents import profile_document
from fake_workers import FakeWorkers, make_dispatcher, make_job, make_plan
from hadis.api.resources import CascadeProfile, Difficulty
from hadis.planning.comparison import GroupCounts, regression
from hadis.planning.profile import Profile
from hadis.planning.rollout import Canary
from hadis.protocol.run_state import RunState, WorkerAddress
from hadis_router.difficulty.scorer import DifficultyScorer
from hadis_router.dispatch.answer import ServeError
from hadis_router.dispatch.lanes import Lanes
from test_api import PLAN, Instant, make_app, post
from virtual import virtual

DIFFICULTY = Difficulty(features=("prompt_length",), mean=(0,), std=(1,), weights=(2,), quantiles=(0, 5, 10, 15, 20))
OLD = Profile(CascadeProfile.read(profile_document())).hash
CANARY = Canary(
    profile="new", stable=OLD, share=0.25, light="light", heavy="heavy", direct_ratio=0.0, deferral_ratio=1.0,
    difficulty=DIFFICULTY, confidence_quantiles=(0.0, 0.5, 1.0),
)  # fmt: skip


@virtual
async def test_each_job_keeps_the_ratios_of_its_lane_and_is_counted_there(profile: Profile) -> None:
    dispatcher = make_dispatcher(profile, FakeWorkers(confidence=0.5), make_plan(), workers=4)
    dispatcher.lanes.set_canary(CANARY)
    plain, tried, forced = make_job("plain"), make_job("tried"), make_job("forced", tier="light")
    tried.canary = True
    dispatcher.submit(plain, tried, forced)
    answers = await asyncio.gather(*(job.future for job in (plain, tried, forced)))
    assert [answer.path for answer in answers] == ["light", "deferred", "light"]
    assert dispatcher.lanes.counts == {
        OLD: GroupCounts(1, 0, 0, 1, 0, 0.0, 0.5, 0.25),
        "new": GroupCounts(1, 0, 0, 1, 1, 1.0, 0.5, 0.25),
    }


@virtual
async def test_what_is_late_or_refused_counts_against_its_profile(profile: Profile) -> None:
    dispatcher = make_dispatcher(profile, FakeWorkers(), make_plan(), workers=1)
    dispatcher.lanes.set_canary(CANARY)
    late, gone = make_job("late", slo_s=0.01), make_job("gone")
    late.canary = gone.canary = True
    with pytest.raises(ServeError) as refused:
        dispatcher.submit(late)
    dispatcher.cancel(late, refused.value)
    dispatcher.submit(gone)
    dispatcher.cancel(gone)
    assert dispatcher.lanes.counts["new"] == GroupCounts(1, 1, 1)


def test_the_canary_gets_its_share(profile: Profile) -> None:
    lanes = Lanes(profile, random.Random(1))
    assert not any(lanes.next_is_canary() for _ in range(100))
    lanes.set_canary(CANARY)
    assert Counter(lanes.next_is_canary() for _ in range(10_000))[True] == pytest.approx(2500, abs=150)


@virtual
async def test_counts_go_on_while_ratios_move_and_begin_anew_with_another_profile(profile: Profile) -> None:
    lanes, job = Lanes(profile), make_job()
    lanes.set_canary(CANARY)
    job.cancel()
    lanes.ended(job, in_time=False)
    assert lanes.counts[OLD] == GroupCounts(), "what a client cancels says nothing of a profile"
    job = make_job()
    job.fail(ServeError(500, "failed", "no"))
    assert job.future.exception()
    lanes.ended(job, in_time=False)
    lanes.set_canary(replace(CANARY, deferral_ratio=0.5))
    assert lanes.counts[OLD] == GroupCounts(1, 1, 1)
    lanes.set_canary(replace(CANARY, profile="third"))
    assert lanes.counts == {OLD: GroupCounts(), "third": GroupCounts()}
    lanes.set_canary(replace(CANARY, stable="of other routers"))
    assert lanes.counts == {}


@virtual
async def test_where_the_plan_has_another_cascade_the_canary_waits(profile: Profile) -> None:
    lanes, job = Lanes(profile), make_job()
    job.canary = True
    lanes.set_canary(CANARY)
    plan = make_plan(light="heavy", heavy="heavy")
    assert lanes.of(job, plan) == (lanes.stable, plan)
    assert lanes.of(job, make_plan())[1].deferral_ratio == 1.0


async def test_the_router_follows_the_canary_and_tells_what_it_counts(profile: Profile) -> None:
    app = make_app(profile, Instant())
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router") as client:
            assert "hadis_router_rollout_total{" not in (await client.get("/metrics")).text
            workers = (WorkerAddress("http://w0", ("light", "heavy")),)
            app.state.gateway.take_state(RunState(PLAN, workers, canary=replace(CANARY, share=1.0)))
            answer = await post(client, prompt="a red circle", explain=True)
            assert answer.headers["x-hadis-path"] == "deferred"
            by_canary = DifficultyScorer(DIFFICULTY).score("a red circle")
            assert answer.json()["hadis"][0]["difficulty"] == pytest.approx(by_canary) != len("a red circle")
            text = (await client.get("/metrics")).text
            assert 'hadis_router_rollout_total{profile="new",sum="deferred"} 1.0' in text
            assert f'hadis_router_rollout_total{{profile="{OLD}",sum="images"}} 0.0' in text
            unknown = DIFFICULTY.model_copy(update={"features": ("taste",)})
            app.state.gateway.take_state(RunState(PLAN, workers, canary=replace(CANARY, difficulty=unknown, share=1.0)))
            assert (await post(client, prompt="a")).headers["x-hadis-path"] == "light"


@virtual
async def test_thresholds_of_other_images_are_told_by_what_they_defer(profile: Profile) -> None:
    lanes, chance, plan = Lanes(profile, random.Random(2)), random.Random(1), make_plan(deferral=0.2)
    lanes.set_canary(replace(CANARY, deferral_ratio=0.2, confidence_quantiles=(0.98, 0.99, 1.0)))
    for _ in range(1000):
        job = make_job(difficulty=chance.random())
        job.canary, job.confidence, job.tier = lanes.next_is_canary(), chance.random(), "light"
        cascade, kept = lanes.of(job, plan)
        lanes.judged(job, kept, deferred=cascade.should_defer(job, kept))
        job.cancel()
    old, new = (replace(lanes.counts[group], images=1000) for group in (OLD, "new"))
    worse = regression(old, new, 0.005)
    assert worse is not None and worse.reason == "DeferralRose"
    assert regression(old, old, 0.005) is None
