"""One replay: a trace through the router's Dispatcher on a virtual clock, under a policy.

Only two things are not the live ones: the clock (looptime jumps over every wait) and the transport (a latency table).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import looptime
from hadis.api.fields import parse_duration_s
from hadis.api.resources import ServiceSpec
from hadis.planning.decide import Decision
from hadis.planning.fleet import is_shared
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.planning.sizes import AUTO, size_name
from hadis.planning.snapshot import DemandReading, Memory, Problem, Snapshot, Worker, WorkerGroup
from hadis.planning.speeds import mean_ratios, mean_worker_ratios
from hadis_router.dispatch.answer import ServeError
from hadis_router.dispatch.dispatcher import Dispatcher
from hadis_router.dispatch.job import ImageParams, Job
from hadis_router.http.capabilities import resolved_size

from hadis_profiler.replay.clients import ClientMix
from hadis_profiler.replay.disturbances import BatchFactors, Disturbances
from hadis_profiler.replay.fleet import DedicatedFleet, Fleet, SharedFleet, SlotFleet, TableTransport
from hadis_profiler.replay.inputs import ScoredPrompts
from hadis_profiler.replay.routers import Routers
from hadis_profiler.replay.sizes import SizeMix


class Policy(Protocol):
    """Who decides: takes a control step on what a live one sees."""

    every_s: float

    def decide(self, snapshot: Snapshot, memory: Memory) -> Decision:
        """Return the plan that routes on the workers that are ready, and the workers to have by tier."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request's end, as the judge reads it. Tiers are names; `answered_s` is None without an answer."""

    arrival_s: float
    answered_s: float | None
    light: str
    heavy: str
    first: str
    final: str
    how: str
    client: str = ""
    size: str = AUTO


@dataclass(frozen=True)
class Setting:
    """What every policy of a comparison has in common."""

    profile: Profile
    spec: ServiceSpec
    change_cost_s: float = 0.0
    queue_limit: int = 100_000
    disturbances: Disturbances = Disturbances()
    seed: int = 0
    """Of what the disturbances, the clients and the sizes draw."""
    clients: ClientMix = ClientMix()
    sizes: SizeMix = SizeMix()

    @property
    def gpus(self) -> int:
        """GPUs that there are."""
        return self.spec.gpus.max

    @property
    def slo_s(self) -> float:
        """The latency objective."""
        return parse_duration_s(self.spec.objective.latency)


@dataclass(frozen=True)
class Ran:
    """How a replay went by itself."""

    wall_s: float
    virtual_s: float
    busy_share: float
    calls: int
    """Calls to workers, those that were refused included."""
    batches: int
    forwarded: int
    """Requests that a router forwarded to another one."""
    joules: float
    """Energy of all batches; infinite where the profile does not tell that of each."""


def replay(
    setting: Setting, policy: Policy, trace: Iterable[tuple[float, int]], prompts: ScoredPrompts,
    record: Callable[[Outcome], None], score: Callable[[int], float] | None = None,
    planned: Callable[[float, Plan], None] = lambda at, plan: None,
) -> Ran:  # fmt: skip
    """Run a trace; `record` gets every request's end, `planned` every plan.

    `score` gives the difficulty of a prompt index where a policy does not look at the text (default: the prompts').
    """
    loop = looptime.new_event_loop(start=0)
    began = time.perf_counter()
    run = _Replay(setting, policy, prompts, record, score, planned)
    try:
        end_s = loop.run_until_complete(run.run(trace))
    finally:
        loop.close()
    workers = setting.gpus + sum(setting.profile.slots.values())
    busy = run.transport.busy_s / (workers * end_s) if end_s else 0.0
    return Ran(time.perf_counter() - began, end_s, busy, run.transport.calls, run.transport.batches,
               run.routers.forwarded, run.transport.joules)  # fmt: skip


def snapshot_of(
    now_s: float,
    setting: Setting,
    reading: DemandReading | Problem,
    groups: tuple[WorkerGroup, ...],
    workers: tuple[Worker, ...],
) -> Snapshot:
    """Return the simulated machines as the control step sees them."""
    return Snapshot(
        now_s=now_s, spec=setting.spec, profile=setting.profile, reading=reading, workers=workers, groups=groups
    )


class _Replay:
    def __init__(
        self, setting: Setting, policy: Policy, prompts: ScoredPrompts, record: Callable[[Outcome], None],
        score: Callable[[int], float] | None, planned: Callable[[float, Plan], None],
    ) -> None:  # fmt: skip
        self._setting, self._policy, self._record, self._planned = setting, policy, record, planned
        self._difficulty = score or prompts.difficulty.tolist().__getitem__
        factors = BatchFactors(setting.disturbances, setting.seed)
        self.transport = TableTransport(setting.profile, prompts, factors)
        self._client, self._size = setting.clients.drawn(setting.seed), setting.sizes.drawn(setting.seed)
        self._memory = Memory()
        self._arrivals = {size: 0 for size, _ in setting.sizes.shares} or {AUTO: 0}
        self._open = 0

    async def run(self, trace: Iterable[tuple[float, int]]) -> float:
        """Run the trace; return the virtual seconds that it took. Nothing is left on the loop, also after an error."""
        try:
            return await self._run(trace)
        finally:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _run(self, trace: Iterable[tuple[float, int]]) -> float:
        setting = self._setting
        self.routers = Routers(setting.disturbances.routers, self._make_dispatcher)
        self._fleet = self._start_fleet()
        self._control(0.0)
        loop = asyncio.get_running_loop()
        control = asyncio.ensure_future(self._control_loop())
        for loss in setting.disturbances.losses:
            loop.call_at(loss.at_s, self._fleet.lose, loss.workers)
        for at, prompt in trace:
            if at > loop.time():
                await asyncio.sleep(at - loop.time())
            self._arrive(loop, at, prompt)
        while self._open:  # noqa: ASYNC110 (every job has a deadline)
            await asyncio.sleep(setting.slo_s / 4)
        control.cancel()
        return loop.time()

    def _start_fleet(self) -> Fleet:
        setting, tiers = self._setting, self._setting.profile.local_tiers
        publish, slots = self.routers.set_workers, SlotFleet(setting.profile.slots, setting.gpus)
        if is_shared(setting.spec, setting.profile) or not tiers:
            return SharedFleet(publish, self.transport, tiers, setting.gpus if tiers else 0, slots)
        decided = self._decide(0.0, (), ()).workers_by_tier
        counts = {tier: decided.get(tier, 0) for tier in tiers}
        # Whatever a plan leaves over serves the heaviest tier: a GPU that is there costs the same when it idles.
        heaviest = [tier for tier in tiers if counts[tier] or tier == tiers[0]][-1]
        counts[heaviest] += setting.gpus - sum(counts.values())
        return DedicatedFleet(publish, self.transport, counts, setting.change_cost_s, slots)

    def _make_dispatcher(self) -> Dispatcher:
        setting = self._setting
        return Dispatcher(
            setting.profile, self.transport, slo_s=setting.slo_s, queue_limit=setting.queue_limit,
            weights=setting.clients.weight_by_name, on_done=self._done,
        )  # fmt: skip

    def _arrive(self, loop: asyncio.AbstractEventLoop, at: float, prompt: int) -> None:
        size, tiers = self._size(), self._setting.profile.tiers.values()
        self._arrivals[size] += 1
        able = [tier for tier in tiers if size in (AUTO, *tier.all_sizes)]
        params = ImageParams(prompt="", seed=prompt, size=resolved_size(size, able))
        job = Job(str(sum(self._arrivals.values())), params, at, at + self._setting.slo_s, loop.create_future(),
                  able_tiers=None if len(able) == len(tiers) else frozenset(tier.name for tier in able),
                  difficulty=self._difficulty(prompt), client=self._client())  # fmt: skip
        self._open += 1
        self.routers.submit(job, self._refused)

    def _refused(self, job: Job, error: ServeError) -> None:
        self._open -= 1
        self._record(Outcome(job.arrived, None, "", "", "", "", error.code, job.client, size_name(job.params.size)))

    def _done(self, job: Job, how: str) -> None:
        self._open -= 1
        failed = job.future.exception() is not None
        now = asyncio.get_running_loop().time()
        final = "" if failed else job.attempts[-1].tier
        answered_s = None if failed else now
        path = *job.cascade, job.first_tier, final, how
        self._record(Outcome(job.arrived, answered_s, *path, job.client, size_name(job.params.size)))

    def _control(self, now: float) -> None:
        """Take one control step: observe the fleet, decide, act."""
        decision = self._decide(now, *self._fleet.observe())
        if decision.plan is not None and decision.plan != self.routers.plan:
            self.routers.set_plan(decision.plan)
            self._planned(now, decision.plan)
        self._fleet.apply(decision.workers_by_tier)

    def _decide(self, now: float, groups: tuple[WorkerGroup, ...], workers: tuple[Worker, ...]) -> Decision:
        waits = [router.queued_s for router in self.routers]
        queued_s = {tier: sum(each[tier] for each in waits) for tier in self._setting.profile.tiers}
        reading = DemandReading(
            now, {size: float(count) for size, count in self._arrivals.items()}, queued_s,
            ratios=mean_ratios(router.ratios for router in self.routers),
            worker_ratios=mean_worker_ratios(router.worker_ratios for router in self.routers),
            sizes={size: size for size in self._arrivals},
        )  # fmt: skip
        snapshot = snapshot_of(now, self._setting, reading, groups, workers)
        decision = self._policy.decide(snapshot, self._memory)
        self._memory = decision.memory
        return decision

    async def _control_loop(self) -> None:
        while True:
            await asyncio.sleep(self._policy.every_s)
            self._control(asyncio.get_running_loop().time())
