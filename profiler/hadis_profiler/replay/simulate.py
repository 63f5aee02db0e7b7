"""One replay: a trace through the router's Dispatcher on a virtual clock, under a policy.

Dispatcher, routers' view of each other and control step are the live ones. What stands in for the rest: the clock
(looptime jumps over every wait), workers (`transport`, a latency table), pods and their controllers, which are never
late (`fleet`), and what carries readings and plans between routers and the control step (`control`). There is no HTTP,
and a prompt is its scores.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import looptime
from hadis.planning.plan import Plan
from hadis.planning.restricted import restriction
from hadis.planning.sizes import AUTO, size_name
from hadis_router.dispatch.answer import ServeError
from hadis_router.dispatch.dispatcher import Dispatcher
from hadis_router.dispatch.image_params import ImageParams
from hadis_router.dispatch.job import Job
from hadis_router.http.capabilities import resolved_size

from hadis_profiler.replay.control import Control, Policy
from hadis_profiler.replay.disturbances import BatchFactors
from hadis_profiler.replay.inputs import ScoredPrompts
from hadis_profiler.replay.routers import Routers
from hadis_profiler.replay.setting import Setting
from hadis_profiler.replay.transport import TableTransport


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
    best_of_two: bool = False
    """Whether it was deferred for the better of two images."""


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
    setting: Setting,
    policy: Policy,
    trace: Iterable[tuple[float, int]],
    prompts: ScoredPrompts,
    record: Callable[[Outcome], None],
    score: Callable[[int], float] | None = None,
    planned: Callable[[float, Plan], None] = lambda at, plan: None,
) -> Ran:
    """Run a trace; `record` gets every request's end, `planned` every plan.

    `score` gives the difficulty of a prompt index where a policy does not look at the text (default: the prompts').
    """
    # Nothing here waits for another thread or process, so that a loop with nothing to run may jump at once.
    loop = looptime.new_event_loop(start=0, noop_cycles=0)
    began = time.perf_counter()
    run = _Replay(setting, policy, prompts, record, score, planned)
    try:
        end_s = loop.run_until_complete(run.run(trace))
    finally:
        loop.close()
    workers = setting.workers + sum(setting.profile.slots.values())
    busy = run.transport.busy_s / (workers * end_s) if end_s else 0.0
    return Ran(
        time.perf_counter() - began,
        end_s,
        busy,
        run.transport.calls,
        run.transport.batches,
        run.routers.forwarded,
        run.transport.joules,
    )


class _Replay:
    def __init__(
        self,
        setting: Setting,
        policy: Policy,
        prompts: ScoredPrompts,
        record: Callable[[Outcome], None],
        score: Callable[[int], float] | None,
        planned: Callable[[float, Plan], None],
    ) -> None:
        self._setting, self._policy, self._record, self._planned = setting, policy, record, planned
        self._difficulty = score or prompts.difficulty.tolist().__getitem__
        factors = BatchFactors(setting.disturbances, setting.seed)
        self.transport = TableTransport(setting.profile, prompts, factors)
        self._client, self._size = setting.clients.drawn(setting.seed), setting.sizes.drawn(setting.seed)
        self._only = setting.only.drawn(setting.seed)
        self._arrivals = {size: 0 for size, _ in setting.sizes.shares} or {AUTO: 0}
        self._restricted = dict.fromkeys(setting.profile.tiers, 0)
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
        control = Control(
            setting, self._policy, self.routers, self.transport, self._arrivals, self._restricted, self._planned
        )
        control.begin()
        loop = asyncio.get_running_loop()
        steps = asyncio.ensure_future(control.run())
        for loss in setting.disturbances.losses:
            loop.call_at(loss.at_s, control.fleet.lose, loss.workers)
        for at, prompt in trace:
            if at > loop.time():
                await asyncio.sleep(at - loop.time())
            self._arrive(loop, at, prompt)
        while self._open:  # noqa: ASYNC110 (every job has a deadline)
            await asyncio.sleep(setting.slo_s / 4)
        if steps.done():
            steps.result()  # raises what ended the control loop
        steps.cancel()
        return loop.time()

    def _make_dispatcher(self) -> Dispatcher:
        setting = self._setting
        return Dispatcher(
            setting.profile,
            self.transport,
            slo_s=setting.slo_s,
            queue_limit=setting.queue_limit,
            weights=setting.clients.weight_by_name,
            on_done=self._done,
        )

    def _arrive(self, loop: asyncio.AbstractEventLoop, at: float, prompt: int) -> None:
        size, only, tiers = self._size(), self._only(), list(self._setting.profile.tiers.values())
        self._arrivals[size] += 1
        able = [tier for tier in tiers if size in (AUTO, *tier.all_sizes) and only in (None, tier.name)]
        names = [tier.name for tier in able]
        if len(able) < len(tiers):
            self._restricted[restriction(names)] = self._restricted.get(restriction(names), 0) + 1
        params = ImageParams(prompt="", seed=prompt, size=resolved_size(size, able))
        job = Job(
            str(sum(self._arrivals.values())),
            params,
            at,
            at + self._setting.slo_s,
            loop.create_future(),
            able_tiers=None if len(able) == len(tiers) else frozenset(names),
            lighter_may=able == tiers[: len(able)],
            difficulty=self._difficulty(prompt),
            client=self._client(),
        )
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
        size = size_name(job.params.size)
        self._record(Outcome(job.arrived, answered_s, *path, job.client, size, job.best_of_two))
