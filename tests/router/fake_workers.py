"""Two tiers on fake workers for tests of the dispatcher: a light image takes 0.1 s, a heavy one 1 s."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hadis.planning.plan import Plan, TierPlan
from hadis.planning.profile import Profile
from hadis.protocol.run_state import WorkerAddress
from hadis.protocol.worker import JobResult, Progress
from hadis_router.dispatch.dispatcher import Dispatcher
from hadis_router.dispatch.estimates import Estimates
from hadis_router.dispatch.image_params import ImageParams
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.outlook import Outlook
from hadis_router.dispatch.queue import TierQueue
from hadis_router.dispatch.transport import OnProgress, Result, WorkerGone
from hadis_router.dispatch.workers import RemoteWorkers

SLO_S = 4.0


class FakeWorkers:
    """Makes a batch in the profile's time, all with one `confidence`; `faults` are raised first, one per call."""

    def __init__(self, confidence: float = 1.0) -> None:
        self.confidence = confidence
        self.discriminates = True
        self.faults: list[Exception | None] = []
        self.calls: list[tuple[float, str, str, list[str]]] = []

    async def generate(
        self, url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float, on_progress: OnProgress
    ) -> list[Result]:
        self.calls.append((asyncio.get_running_loop().time(), url, tier, [job.id for job in jobs]))
        if self.faults and (fault := self.faults.pop(0)):
            raise fault
        if discriminate and not self.discriminates:
            raise WorkerGone("status 400: this worker has no discriminator")
        on_progress(Progress(done=0, steps=4))
        seconds = (0.1 if tier == "light" else 1.0) * len(jobs)
        await asyncio.sleep(seconds)
        confidence = self.confidence if discriminate else None
        return [(JobResult(id=j.id, confidence=confidence, service_s=seconds), tier.encode()) for j in jobs]


def make_plan(
    direct: float = 0.0,
    deferral: float = 0.0,
    batch: int = 1,
    counts: tuple[int, int] = (1, 1),
    light: str = "light",
    heavy: str = "heavy",
) -> Plan:
    tiers = TierPlan("light", counts[0], batch), TierPlan("heavy", counts[1], batch)
    return Plan(light, heavy, direct, deferral, tiers, 1.0, 25.0, 1.0, 2.0, generation=1)


def make_outlook(
    profile: Profile,
    plan: Plan | None,
    tiers: Sequence[tuple[str, ...]] = (("light", "heavy"),),
    busy_s: float = 0.0,
) -> Outlook:
    """Return the outlook at time 0 on empty queues; workers w0, w1, ... have these tiers, and are busy or idle."""
    workers = RemoteWorkers(profile.slots)
    workers.update(WorkerAddress(f"w{i}", resident) for i, resident in enumerate(tiers))
    if busy_s:
        for worker in workers:
            worker.begin(worker.tiers[0], 0.0, busy_s)
    queues = {tier: TierQueue() for tier in profile.tiers}
    return Outlook(queues, workers, Estimates(profile), plan, SLO_S, 0.0, profile.has_discriminator)


def make_dispatcher(
    profile: Profile, transport: FakeWorkers, plan: Plan, workers: int = 1, limit: int = 100
) -> Dispatcher:
    dispatcher = Dispatcher(profile, transport, slo_s=SLO_S, queue_limit=limit)
    dispatcher.set_workers([WorkerAddress(f"w{i}", ("light", "heavy")) for i in range(workers)])
    dispatcher.set_plan(plan)
    return dispatcher


def make_job(
    name: str = "a",
    difficulty: float = 1.0,
    slo_s: float = SLO_S,
    tier: str | None = None,
    client: str = "a client",
    able: frozenset[str] | None = None,
    size: str | None = None,
) -> Job:
    loop = asyncio.get_running_loop()
    now, future = loop.time(), loop.create_future()
    params = ImageParams("p", 1, size=size)
    lighter_may = able is None or "light" in able
    return Job(name, params, now, now + slo_s, future, tier, able, lighter_may, difficulty=difficulty, client=client)
