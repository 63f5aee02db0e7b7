"""Images of several sizes in one queue: what shares a batch, what waits behind what, and how long it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from documents import profile_document, save_time_in_batches
from fake_workers import SLO_S, make_dispatcher, make_job, make_outlook, make_plan
from hadis.api.resources import CascadeProfile
from hadis.planning.profile import Profile
from hadis.protocol.worker import JobResult
from hadis_router.dispatch.choosing import Choice, batch_size, choose
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.light_reserve import LightReserve
from hadis_router.dispatch.outlook import Outlook
from hadis_router.dispatch.queue import TierQueue
from hadis_router.dispatch.transport import OnProgress, Result
from hadis_router.http.capabilities import resolved_size
from hadis_router.http.metrics import RouterMetrics
from virtual import virtual

LARGE = "64x32"
"""Takes twice as long as the first size."""
FEW = "32x96"
"""Takes three times as long; no batch of it was measured that is larger than 2."""


def profile_of(
    sizes: Sequence[str] = (LARGE,), measured: dict[str, Sequence[int]] | None = None, *, flat: bool = False
) -> Profile:
    document = profile_document()
    if flat:
        save_time_in_batches(document)
    for tier in document["spec"]["tiers"]:
        first = list(tier["latency"])
        tier["sizes"] = [tier.pop("size"), *sizes]
        for size, batches in (measured or {}).items():
            tier["latency"] += [p | {"seconds": 3 * p["seconds"], "size": size} for p in first if p["batch"] in batches]
    return Profile(CascadeProfile.read(document))


def put(outlook: Outlook, tier: str, *sizes: str | None, slo_s: float = SLO_S) -> None:
    for size in sizes:
        number = len(outlook.queues[tier])
        outlook.queues[tier].put(make_job(f"{tier}{number}", slo_s=slo_s + number * 1e-3, size=size))


class Sized:
    """Makes a batch in its size's time and notes it."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self.batches: list[tuple[str, list[str | None]]] = []

    async def generate(
        self, url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float, on_progress: OnProgress
    ) -> list[Result]:
        self.batches.append((tier, [job.params.size for job in jobs]))
        [size] = {job.params.size for job in jobs}
        await asyncio.sleep(self._profile.latency_s(tier, len(jobs), discriminate, size))
        return [(JobResult(id=job.id, confidence=0.9), tier.encode()) for job in jobs]


@virtual
async def test_the_most_urgent_job_says_which_size_is_next() -> None:
    queue = TierQueue()
    for i, size in enumerate((LARGE, None, LARGE, None, None)):
        queue.put(make_job(str(i), slo_s=1 + i, size=size))
    assert (queue.alike(4), queue.alike(1)) == (2, 1)
    assert [[job.id for job in queue.take(4)] for _ in range(2)] == [["0", "2"], ["1", "3", "4"]]
    assert (queue.kinds, queue.needy_by_size, len(queue)) == ({}, {}, 0)


@virtual
async def test_a_batch_is_due_when_the_first_of_its_own_jobs_is() -> None:
    """The needy job of the batch stands behind jobs of another size."""
    queue = TierQueue()
    for i, size in enumerate((LARGE, None, None, None, LARGE)):
        job = make_job(str(i), slo_s=1 + i, size=size)
        if i < 4:
            job.light_image = b""
        queue.put(job)
    assert queue.dues(2) == (1, 5)


@virtual
async def test_batches_hold_one_size_each_and_take_its_time() -> None:
    profile = profile_of()
    workers = Sized(profile)
    dispatcher = make_dispatcher(profile, workers, make_plan(batch=4))  # type: ignore[arg-type]  # another fake
    jobs = [make_job(str(i), size=size) for i, size in enumerate((None, LARGE, None, LARGE, LARGE))]
    dispatcher.submit(*jobs)
    answers = await asyncio.gather(*(job.future for job in jobs))
    assert workers.batches == [("light", [None]), ("light", [LARGE] * 3), ("light", [None])]
    assert [answer.latency_s for answer in answers] == pytest.approx([0.1, 0.7, 0.8, 0.7, 0.7])
    assert dispatcher.ratios["light"] == pytest.approx({1: 1, 2: 1, 4: 1})


@virtual
async def test_work_counts_by_each_jobs_own_size() -> None:
    outlook = make_outlook(profile_of(), make_plan(batch=4), busy_s=0.3)
    put(outlook, "light", None, LARGE, LARGE)
    assert outlook.queued_s() == pytest.approx({"light": 0.5, "heavy": 0})
    assert outlook.first_image_s(make_job(size=LARGE), "light") == pytest.approx(0.2)
    large, early = make_job(size=LARGE), make_job(size=LARGE, slo_s=SLO_S + 0.5e-3)
    assert outlook.ends_at(large, "light") == pytest.approx(0.3 + 0.2 + 0.2), "the one ahead may be a large one"
    assert outlook.ends_at(early, "light") == pytest.approx(0.3 + 0.2 + 0.2)
    late = make_job(slo_s=5)
    assert outlook.ends_at(late, "light") == pytest.approx(0.3 + 0.5 + 0.1), "all that waits, and no more"


@virtual
async def test_a_batch_is_no_larger_than_what_waits_of_its_size_and_was_measured_of_it() -> None:
    outlook = make_outlook(profile_of([FEW], {FEW: (1, 2)}), make_plan(batch=4, light="light", heavy="light"))
    worker = next(iter(outlook.workers))
    put(outlook, "light", FEW, None, None, None, FEW, FEW)
    assert batch_size(outlook, "light", worker, 1) == 2
    outlook.queues["light"].take(4)
    assert batch_size(outlook, "light", worker, 1) == 3
    assert outlook.batch_limit("light", LARGE) == 4, "nothing was measured of it"


@virtual
async def test_a_light_batch_leaves_those_of_other_sizes_their_time() -> None:
    """Four of the first size take up to 0.52 s; the large one behind them must begin by then."""
    for slo_s, size in ((0.81, 4), (0.60, 2)):
        outlook = make_outlook(profile_of(), make_plan(batch=4))
        light = outlook.queues["light"]
        for i in range(4):
            light.put(make_job(str(i), slo_s=0.53 if i == 0 else SLO_S))
        light.put(make_job("large", slo_s=slo_s, size=LARGE))
        choice = choose(outlook)
        assert isinstance(choice, Choice)
        assert (choice.tier, choice.size) == ("light", size), slo_s


@virtual
async def test_of_mixed_sizes_the_reserve_takes_each_for_the_longest_and_one_more_batch() -> None:
    """In 5 s a worker makes 38 images of the first size one by one, and 19 large ones."""
    single = make_outlook(profile_of(), make_plan(batch=1))
    put(single, "light", None, None)
    alike, mixed = (LightReserve(single, "light", make_job(size=size)).spare(5) for size in (None, LARGE))
    assert (alike, mixed) == (36, 17)
    batched = make_outlook(profile_of(flat=True), make_plan(batch=4))
    put(batched, "light", LARGE)
    alike, mixed = (LightReserve(batched, "light", make_job(size=size)).spare(5) for size in (LARGE, None))
    assert (alike, mixed) == (31, 28), "a further size may need a batch of one where four could be made"


def test_a_size_that_is_every_tiers_first_is_as_if_left_open(profile: Profile) -> None:
    tiers = profile_of().tiers.values()
    assert [resolved_size(size, tiers) for size in ("auto", "32x32", LARGE)] == [None, None, LARGE]


def test_arrivals_are_counted_by_size_from_the_start() -> None:
    metrics = RouterMetrics(profile_of().tiers.values())
    for size in ("auto", "32x32", LARGE, "1x1"):
        metrics.arrived(1, size)
    assert metrics.arrivals_by_size == {"auto": 2, LARGE: 1, "other": 1}
    assert metrics.arrivals_total == 4
    text, _ = RouterMetrics(profile_of().tiers.values()).text()
    assert 'hadis_router_arrivals_total{size="64x32"} 0.0' in text.decode()
