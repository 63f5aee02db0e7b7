"""Quality watched in service: which answers are judged, what comes of it, and that it takes nothing from requests."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest
from fake_workers import SLO_S, FakeWorkers, make_job, make_plan
from hadis.api.watch import WatchSpec
from hadis.planning.expected_confidence import expected_confidence
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.planning.watched_quality import WatchSums, live_quality, watch_sums
from hadis.protocol.run_state import WorkerAddress
from hadis_router.dispatch.dispatcher import Dispatcher
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.judging import SAMPLED
from hadis_router.dispatch.transport import OnProgress, Result
from hadis_router.http.quality_watch import QualityWatch
from prometheus_client import CollectorRegistry
from virtual import virtual

ALL = WatchSpec(share=1.0)


class Judging(FakeWorkers):
    """Judges light images 0.6, heavy ones 0.9."""

    async def generate(
        self, url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float, on_progress: OnProgress
    ) -> list[Result]:
        self.confidence = {"light": 0.6, "heavy": 0.9}[tier]
        return await super().generate(url, tier, jobs, discriminate, timeout_s, on_progress)


class Bench:
    """A dispatcher whose answers are watched."""

    def __init__(self, profile: Profile, plan: Plan, spec: WatchSpec | None = ALL) -> None:
        self.workers, self.profile, self.plan = Judging(), profile, plan
        self.watch = QualityWatch(spec, profile, SLO_S, random.Random(0))
        self.dispatcher = Dispatcher(
            profile, self.workers, slo_s=SLO_S, queue_limit=100,
            on_done=lambda job, how: self.watch.ended(job, how, self.dispatcher.plan),
        )  # fmt: skip
        self.dispatcher.set_workers([WorkerAddress("w", ("light", "heavy"))])
        self.dispatcher.set_plan(plan)
        self.keeping = asyncio.ensure_future(self.watch.keep(self.dispatcher))

    async def ask(self, name: str, tier: str | None = None, difficulty: float = 1.0) -> None:
        job = make_job(name, difficulty=difficulty, tier=tier)
        self.dispatcher.submit(job)
        await job.future

    @property
    def made(self) -> list[str]:
        return [tier for _, _, tier, _ in self.workers.calls]


@virtual
async def test_a_light_answer_is_judged_beside_the_heavy_tiers_image(profile: Profile) -> None:
    bench = Bench(profile, make_plan(deferral=0.1))
    await bench.ask("a")
    await asyncio.sleep(2.0)
    assert bench.made == ["light", "heavy"]
    expected = expected_confidence(profile, bench.plan)
    assert expected is not None
    live = live_quality(bench.watch.sums)
    assert live is not None
    assert (live.images, live.predicted) == (1, expected)
    assert live.mean == pytest.approx(0.6)
    assert bench.watch.gpu_s == pytest.approx(1.0)
    assert bench.watch.counts == {"judged": 1}
    assert bench.dispatcher.recent.totals["answered"] == {"light": 1}


@virtual
async def test_the_heavy_tiers_answer_is_its_own_measure(profile: Profile) -> None:
    bench = Bench(profile, make_plan(direct=1.0))
    await bench.ask("a")
    await asyncio.sleep(2.0)
    sums = bench.watch.sums
    assert sums.images == 1
    assert [sums.answered, sums.heavy] == pytest.approx([0.9, 0.9])


@virtual
async def test_what_a_client_chose_is_not_judged(profile: Profile) -> None:
    bench = Bench(profile, make_plan(deferral=0.1))
    await bench.ask("a", tier="light")
    await asyncio.sleep(5.0)
    assert bench.made == ["light"]


@virtual
async def test_off_is_off(profile: Profile) -> None:
    bench = Bench(profile, make_plan(deferral=0.1), spec=None)
    await bench.ask("a")
    await asyncio.sleep(5.0)
    assert (bench.made, bench.watch.status(), bench.keeping.done()) == (["light"], None, True)
    registry = CollectorRegistry()
    registry.register(bench.watch)
    assert registry.get_sample_value("hadis_router_watch_seconds_total") == 0.0
    assert registry.get_sample_value("hadis_router_watched_quality", {"sum": "images"}) is None


@virtual
async def test_requests_are_answered_as_fast_as_without_it_and_it_comes_to_its_turn(profile: Profile) -> None:
    bench, latencies = Bench(profile, make_plan(deferral=0.1)), []
    clock = asyncio.get_running_loop().time
    for i in range(10):  # each comes while the answer before it is being judged
        began = clock()
        await bench.ask(str(i))
        latencies.append(clock() - began)
        await asyncio.sleep(0.9)
    assert latencies == pytest.approx([0.1] * 10)
    assert bench.watch.counts["stopped"] > 0
    await asyncio.sleep(60.0)
    assert bench.watch.counts["judged"] == 10
    status = bench.watch.status()
    assert status is not None
    assert watch_sums(status.sums) == bench.watch.sums
    assert status.images == 10
    assert status.mean == pytest.approx(0.6)


@virtual
async def test_what_waits_is_bounded_in_number_and_time(profile: Profile) -> None:
    bench = Bench(profile, make_plan(deferral=0.1))
    bench.keeping.cancel()
    for i in range(40):
        await bench.ask(str(i))
    await asyncio.sleep(500.0)
    await bench.watch.judge_waiting(bench.dispatcher)
    assert bench.watch.counts == {"judged": 16}
    await bench.ask("late")
    await asyncio.sleep(700.0)
    await bench.watch.judge_waiting(bench.dispatcher)
    assert bench.watch.counts == {"judged": 16}


@virtual
async def test_prompts_are_counted_by_their_difficulty(profile: Profile) -> None:
    bench = Bench(profile, make_plan(deferral=0.1), spec=WatchSpec(share=1e-9))
    for difficulty in (1.0, 3.0, 100.0):
        await bench.ask("a", difficulty=difficulty)
    counts = bench.watch.sums.difficulties
    assert (len(counts), counts[0], counts[1], counts[-1]) == (10, 1.0, 1.0, 1.0)


@virtual
async def test_metrics_tell_the_quality_and_what_it_cost(profile: Profile) -> None:
    bench = Bench(profile, make_plan(deferral=0.1))
    await bench.ask("a")
    await asyncio.sleep(5.0)
    registry = CollectorRegistry()
    registry.register(bench.watch)
    value = registry.get_sample_value
    assert value("hadis_router_watch_images_total", {"outcome": "judged"}) == 1
    assert value("hadis_router_watch_seconds_total") == pytest.approx(1.0)
    assert value("hadis_router_watched_confidence", {"value": "mean"}) == pytest.approx(0.6)
    assert value("hadis_router_watched_quality", {"sum": "images"}) == 1


@virtual
async def test_an_image_that_is_not_judged_says_nothing(profile: Profile) -> None:
    bench = Bench(profile, make_plan(deferral=0.1))
    await bench.ask("a")
    bench.workers.discriminates = False
    await asyncio.sleep(5.0)
    assert (bench.watch.counts, bench.watch.sums.images) == ({"failed": 1}, WatchSums().images)


@virtual
async def test_of_a_plan_that_defers_none_few_images_are_judged_and_all_of_these_sampled(profile: Profile) -> None:
    bench = Bench(profile, make_plan(deferral=0.0), spec=WatchSpec(share=1 / SAMPLED))
    for i in range(2 * SAMPLED):
        await bench.ask(str(i))
    await asyncio.sleep(30.0)
    assert bench.watch.counts["judged"] == 2
