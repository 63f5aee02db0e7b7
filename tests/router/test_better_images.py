"""The better of two images: heavy images of deferred requests are judged, and the more confident one is the answer."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from documents import profile_document
from fake_workers import FakeWorkers, make_dispatcher, make_job, make_plan
from hadis.api.resources import CascadeProfile
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.protocol.worker import JobResult
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.judging import SAMPLED
from hadis_router.dispatch.transport import OnProgress, Result
from hadis_router.http.image_answers import answer_headers, made_quality
from test_lanes import CANARY
from virtual import virtual


class Judged(FakeWorkers):
    """Has a confidence for each tier, and notes which batches are judged."""

    def __init__(self, light: float = 0.4, heavy: float | None = 0.9) -> None:
        super().__init__()
        self.by_tier = {"light": light, "heavy": heavy}
        self.judged: Counter[tuple[str, bool]] = Counter()
        self.heavy_error: str | None = None

    async def generate(
        self, url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float, on_progress: OnProgress
    ) -> list[Result]:
        self.judged[tier, discriminate] += 1
        made = await super().generate(url, tier, jobs, discriminate, timeout_s, on_progress)
        if tier == "heavy" and self.heavy_error:
            failed = {"error": "no", "error_code": self.heavy_error}
            return [(JobResult.model_validate({"id": job.id, **failed}), None) for job in jobs]
        confidence = self.by_tier[tier] if discriminate else None
        # As a worker of another version might say it: nothing here may trust what it is told.
        return [(result.model_copy(update={"confidence": confidence}), image) for result, image in made]


def better(deferral: float = 1.0, direct: float = 0.0) -> Plan:
    return replace(make_plan(direct=direct, deferral=deferral), best_of_two=True)


@virtual
async def test_the_more_confident_image_is_the_answer_and_both_confidences_are_told(profile: Profile) -> None:
    for light, heavy, path, image in ((0.4, 0.9, "deferred", b"heavy"), (0.4, 0.3, "better-light", b"light")):
        workers = Judged(light, heavy)
        dispatcher, job = make_dispatcher(profile, workers, better()), make_job()
        dispatcher.submit(job)
        answer = await job.future
        assert (answer.path, answer.image) == (path, image)
        assert [a.tier for a in answer.attempts] == ["light", "heavy"]
        assert answer.made_by.tier == image.decode()
        assert answer.latency_s == pytest.approx(1.1), "a heavy image was made in any case"
        headers = answer_headers(answer)
        assert (headers["x-hadis-confidence"], headers["x-hadis-heavy-confidence"]) == (f"{light:.4f}", f"{heavy:.4f}")
        assert answer_headers(replace(answer, difficulty=-0.00001))["x-hadis-difficulty"] == "0.0000"
        assert made_quality("auto", answer.path) == ("high" if image == b"heavy" else "low")
        assert dispatcher.recent.totals["answered"] == {path: 1}
        assert workers.judged == {("light", True): 1, ("heavy", True): 1}


@virtual
@pytest.mark.parametrize("heavy", [None, 0.0, -1.0, math.nan, 0.4])
async def test_a_heavy_image_that_could_not_be_judged_or_is_as_good_is_the_answer(
    profile: Profile, heavy: float | None
) -> None:
    dispatcher, job = make_dispatcher(profile, Judged(0.4, heavy), better()), make_job()
    dispatcher.submit(job)
    assert ((await job.future).path, (await job.future).image) == ("deferred", b"heavy")


@virtual
@pytest.mark.parametrize("error", ["content_filtered", "failed", "out_of_memory"])
async def test_where_there_is_no_heavy_image_the_light_one_is_the_answer(profile: Profile, error: str) -> None:
    workers = Judged()
    workers.heavy_error = error
    dispatcher, job = make_dispatcher(profile, workers, better()), make_job()
    dispatcher.submit(job)
    assert ((await job.future).path, (await job.future).image) == ("kept-light", b"light")


@virtual
async def test_only_heavy_batches_with_a_deferred_request_are_judged(profile: Profile) -> None:
    workers = Judged()
    dispatcher = make_dispatcher(profile, workers, better(deferral=0.5, direct=0.5))
    for difficulty in (19.0, 18.0):
        job = make_job(difficulty=difficulty)
        dispatcher.submit(job)
        answer = await job.future
        assert (answer.path, answer.confidence, answer.heavy_confidence) == ("heavy", None, None)
    assert workers.judged == {("heavy", False): 2}


@virtual
async def test_a_request_is_deferred_by_the_plan_that_saw_its_light_image(profile: Profile) -> None:
    dispatcher, job = make_dispatcher(profile, Judged(0.4, 0.3), better()), make_job()
    dispatcher.submit(job)
    await asyncio.sleep(0.5)
    dispatcher.set_plan(make_plan())
    assert (await job.future).path == "better-light"


@virtual
async def test_where_nothing_is_deferred_one_light_batch_in_so_many_is_judged(profile: Profile) -> None:
    workers = Judged()
    dispatcher = make_dispatcher(profile, workers, better(deferral=0.0))
    for number in range(2 * SAMPLED):
        job = make_job(str(number))
        dispatcher.submit(job)
        assert (await job.future).path == "light"
    assert workers.judged == {("light", True): 2, ("light", False): 2 * SAMPLED - 2}


@virtual
async def test_while_a_new_profile_is_tried_every_light_image_is_judged(profile: Profile) -> None:
    workers = Judged()
    dispatcher = make_dispatcher(profile, workers, make_plan())
    dispatcher.lanes.set_canary(replace(CANARY, stable=profile.hash, best_of_two=True))
    tried = make_job("tried")
    tried.canary = True
    for job in (make_job("plain"), tried):
        dispatcher.submit(job)
        await job.future
    assert workers.judged == {("light", True): 2, ("heavy", True): 1}


@virtual
async def test_what_is_judged_is_expected_to_take_its_time() -> None:
    document = profile_document()
    for tier in document["spec"]["tiers"]:
        tier["discriminatorSeconds"] = 0.05
    profile = Profile(CascadeProfile.read(document))
    for plan, light_s, heavy_s in ((better(), 0.15, 1.05), (make_plan(deferral=1.0), 0.15, 1.0), (better(0.0), 0.1, 1)):
        outlook = make_dispatcher(profile, Judged(), plan)._outlook()
        assert (outlook.batch_s("light", 1), outlook.batch_s("heavy", 1)) == pytest.approx((light_s, heavy_s))
