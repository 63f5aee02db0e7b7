"""The promise: whoever is admitted gets an image while no batch lasts longer than `Outlook.longest_s`."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from documents import profile_document, save_time_in_batches
from fake_workers import SLO_S, FakeWorkers, make_dispatcher, make_job, make_plan
from hadis.api.resources import CascadeProfile
from hadis.planning.profile import Profile
from hadis.planning.reserve import MOST_SLACK, SLACK
from hadis.protocol.run_state import WorkerAddress
from hadis.protocol.worker import JobResult, Progress
from hadis_router.dispatch.answer import Answer, ServeError
from hadis_router.dispatch.dispatcher import Dispatcher
from hadis_router.dispatch.estimates import Estimates
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.transport import OnProgress, Result, WorkerGone
from hypothesis import example, given, settings
from hypothesis import strategies as st
from virtual import virtual

SIZES = [None, "48x32", "64x32"]
"""The first one, 32x32, and others that take 1.5 and 2 times as long."""


def profile_with_sizes(*, flat: bool) -> Profile:
    """Return the profile with these sizes; `flat`: batches save time."""
    document = profile_document()
    if flat:
        save_time_in_batches(document)
    for tier in document["spec"]["tiers"]:
        tier["sizes"] = [tier.pop("size"), *filter(None, SIZES)]
    return Profile(CascadeProfile.read(document))


PROFILES = {flat: profile_with_sizes(flat=flat) for flat in (False, True)}


class SlowAtWill:
    """Each batch lasts as long as is drawn from a range: from `least` times what the profile says to the bound."""

    def __init__(
        self, profile: Profile, draw: random.Random, least: float, most_more_s: float, ratios: Mapping[str, float]
    ) -> None:
        self._profile, self._draw, self._least, self._most_more_s = profile, draw, least, most_more_s
        self._ratios = ratios

    async def generate(
        self, url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float, on_progress: OnProgress
    ) -> list[Result]:
        on_progress(Progress(done=0, steps=1))
        [size] = {job.params.size for job in jobs}
        expected_s = self._profile.latency_s(tier, len(jobs), discriminate, size) * self._ratios.get(url, 1.0)
        longest_s = min(SLACK * expected_s, expected_s + self._most_more_s)
        seconds = self._draw.uniform(min(self._least * expected_s, longest_s), longest_s)
        await asyncio.sleep(seconds)
        return [(JobResult(id=j.id, confidence=0.5, service_s=seconds), tier.encode()) for j in jobs]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    workers=st.integers(1, 4),
    rps=st.floats(0.2, 12),
    direct=st.floats(0, 1),
    deferral=st.floats(0, 1),
    batch=st.sampled_from([1, 2, 4, 8]),
    least=st.floats(0, SLACK),
    sure=st.booleans(),
    sizes=st.integers(1, len(SIZES)),
    named=st.sampled_from([0.0, 0.0, 0.3]),
    bound=st.sampled_from([0.0, 0.05, 0.3]),
    flat=st.booleans(),
    slower=st.just(()),
)
@example(
    seed=0,
    workers=4,
    rps=7.706512329510717,
    direct=0.75,
    deferral=0.5,
    batch=4,
    least=0.0,
    sure=False,
    sizes=1,
    named=0.0,
    bound=0.0,
    flat=False,
    slower=(),
)
@example(
    seed=2920413135,
    workers=4,
    rps=11.514851811767258,
    direct=0.6736562756326159,
    deferral=0.3778612572751881,
    batch=1,
    least=1.299999,
    sure=False,
    sizes=1,
    named=0.0,
    bound=0.0,
    flat=False,
    slower=(),
)
@example(
    seed=2724768391,
    workers=3,
    rps=12.727407130409771,
    direct=0.47415146323175894,
    deferral=0.11535351610881772,
    batch=8,
    least=1.3,
    sure=True,
    sizes=3,
    named=0.0,
    bound=0.0,
    flat=True,
    slower=(),
)
@example(
    seed=4154136494,
    workers=4,
    rps=10.640285546194615,
    direct=0.8021833398484426,
    deferral=0.5123579576530424,
    batch=8,
    least=1.15,
    sure=False,
    sizes=1,
    named=0.0,
    bound=0.0,
    flat=True,
    slower=(),
)
@example(
    seed=1986813130,
    workers=3,
    rps=2.8567494650059313,
    direct=0.16608309180306668,
    deferral=0.5365586444747502,
    batch=2,
    least=1.299999,
    sure=False,
    sizes=1,
    named=0.0,
    bound=0.6,
    flat=False,
    slower=(),
)
@example(
    seed=3832989139,
    workers=1,
    rps=10.056617947559312,
    direct=0.6613599401618905,
    deferral=0.8480993186727533,
    batch=8,
    least=1.299999,
    sure=True,
    sizes=3,
    named=0.3,
    bound=0.3,
    flat=False,
    slower=(),
)
@example(
    seed=2930582516,
    workers=4,
    rps=13.960243503591789,
    direct=0.3671602002551847,
    deferral=0.40495787473393663,
    batch=8,
    least=1.299999,
    sure=False,
    sizes=2,
    named=0.0,
    bound=0.1,
    flat=False,
    slower=(),
)
@example(
    seed=4154136494,
    workers=4,
    rps=10.30035693274327,
    direct=0.670305566414071,
    deferral=0.3033685109329176,
    batch=8,
    least=1.299999,
    sure=True,
    sizes=1,
    named=0.0,
    bound=0.0,
    flat=True,
    slower=(4.0, 4.0),
)
@example(
    seed=2411013676,
    workers=3,
    rps=11.497192655214912,
    direct=0.4811018174142402,
    deferral=0.36473604716360064,
    batch=2,
    least=1.299999,
    sure=True,
    sizes=2,
    named=0.0,
    bound=0.0,
    flat=True,
    slower=(4.0, 4.0),
)
@example(
    seed=2352037997,
    workers=4,
    rps=7.3433004382624265,
    direct=0.7679511829130964,
    deferral=0.5325204151469501,
    batch=1,
    least=1.299999,
    sure=True,
    sizes=1,
    named=0.0,
    bound=0.0,
    flat=True,
    slower=(2.0,),
)
def test_nobody_who_is_admitted_goes_without_an_image(
    seed: int,
    workers: int,
    rps: float,
    direct: float,
    deferral: float,
    batch: int,
    least: float,
    sure: bool,
    sizes: int,
    named: float,
    bound: float,
    flat: bool,
    slower: tuple[float, ...],
) -> None:
    """The router believes the profile all the time: what it learns would only make it more careful.

    It knows of workers that are `slower`. Of such nothing is promised in general; these are some cases that are kept.
    """

    ratios = {f"w{workers - 1 - i}": ratio for i, ratio in enumerate(slower[: workers - 1])}

    @virtual
    async def serve() -> None:
        draw = random.Random(seed)
        transport = SlowAtWill(PROFILES[flat], draw, least, MOST_SLACK * SLO_S if sure else math.inf, ratios)
        ends: Counter[tuple[str | None, str]] = Counter()
        dispatcher = Dispatcher(
            PROFILES[flat],
            transport,
            slo_s=SLO_S,
            queue_limit=1000,
            on_done=lambda job, how: ends.update([(job.forced_tier, how)]),
        )
        dispatcher.set_workers([WorkerAddress(f"w{i}", ("light", "heavy")) for i in range(workers)])
        dispatcher.set_plan(make_plan(direct, deferral, batch, (1, workers)))
        admitted: list[Job] = []
        while asyncio.get_running_loop().time() < 60:
            await asyncio.sleep(draw.expovariate(rps))
            difficulty, size = draw.random(), SIZES[0] if sizes == 1 else draw.choice(SIZES[:sizes])
            tier = "light" if draw.random() < named else None
            if bound and draw.random() < bound:
                tier = "heavy"
            job = make_job(str(len(admitted)), difficulty=difficulty, size=size, tier=tier)
            try:
                dispatcher.submit(job)
                admitted.append(job)
            except ServeError as error:
                assert error.status == 429
        await asyncio.gather(*(job.future for job in admitted), return_exceptions=True)
        assert not any(how == "deadline_expired" for _, how in ends), ends
        assert ends.total() == len(admitted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Estimates, "learn", lambda *_: None)
        patch.setattr(Estimates, "worker_ratio", lambda _, worker: ratios.get(worker, 1.0))
        patch.setattr(Estimates, "is_sure", lambda *_: sure)
        serve()


class LateHeavy(FakeWorkers):
    """Heavy batches begin late, or hang until the router gives them up (None)."""

    def __init__(self, late_s: float | None) -> None:
        super().__init__()
        self._late_s = late_s

    async def generate(
        self, url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float, on_progress: OnProgress
    ) -> list[Result]:
        if tier == "heavy":
            await asyncio.sleep(timeout_s if self._late_s is None else self._late_s)
            if self._late_s is None:
                raise WorkerGone("timeout")
        return await super().generate(url, tier, jobs, discriminate, timeout_s, on_progress)


async def serve_hard(profile: Profile, workers: FakeWorkers) -> Answer:
    """Return the answer to a prompt that goes straight to the heavy tier."""
    dispatcher, job = make_dispatcher(profile, workers, make_plan(direct=1.0), workers=2), make_job(difficulty=19)
    dispatcher.submit(job)
    return await job.future


@virtual
async def test_a_hung_heavy_batch_costs_its_job_nothing_but_the_heavy_image(profile: Profile) -> None:
    answer = await serve_hard(profile, LateHeavy(None))
    assert (answer.path, answer.image) == ("kept-light", b"light")
    assert answer.latency_s == pytest.approx(0.98 * SLO_S)
    assert [attempt.tier for attempt in answer.attempts] == ["light"]


@virtual
async def test_the_heavy_image_of_a_late_batch_is_the_answer_if_it_comes_in_time(profile: Profile) -> None:
    answer = await serve_hard(profile, LateHeavy(2.9))
    assert (answer.path, answer.image) == ("heavy", b"heavy")
    assert [attempt.tier for attempt in answer.attempts] == ["light", "heavy"]
