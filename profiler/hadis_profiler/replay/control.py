"""The control loop of a replay: read the routers, observe the pods, decide, act on the Decision.

As in the operator, the routers are read once per period, and a pod that is ready or gone wakes a step on the last
reading.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from hadis.planning.decide import Decision
from hadis.planning.lowered import settles_in_s
from hadis.planning.memory import Memory
from hadis.planning.plan import Plan
from hadis.planning.snapshot import DemandReading, Problem, Snapshot, Worker, WorkerGroup
from hadis.planning.speeds import mean_ratios, mean_worker_ratios

from hadis_profiler.replay.fleet import Fleet, groups_of
from hadis_profiler.replay.routers import Routers
from hadis_profiler.replay.setting import Setting
from hadis_profiler.replay.transport import TableTransport

_NEWS_S = 0.05
"""Seconds after the first news of a pod in which others may come, before the step that they all wake."""
_BLIND = Problem("NoRouter", "no router can be read")


class Policy(Protocol):
    """Who decides: takes a control step on what a live one sees."""

    every_s: float
    wakes: bool
    """Whether news of pods wakes it, as they do the operator; else it looks once per period alone."""

    def decide(self, snapshot: Snapshot, memory: Memory) -> Decision:
        """Return the plan that routes on the workers that are ready, and what each group may be asked for."""


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


class Control:
    """Takes the control steps of one replay."""

    def __init__(
        self,
        setting: Setting,
        policy: Policy,
        routers: Routers,
        transport: TableTransport,
        arrivals: Mapping[str, int],
        restricted: Mapping[str, int],
        planned: Callable[[float, Plan], None],
    ) -> None:
        """`arrivals` counts the requests so far, by size; `planned` gets every plan.

        `restricted` counts those that only some tiers may make, by these.
        """
        self._setting, self._policy, self._routers = setting, policy, routers
        self._arrivals, self._restricted, self._planned = arrivals, restricted, planned
        self._news = asyncio.Event()
        groups = groups_of(setting.spec, setting.profile)
        self.fleet = Fleet(groups, setting.workers, setting.change_cost_s, transport, routers.set_workers, self._heard)
        self._memory, self._reading = Memory(), self._read(0.0)

    def begin(self) -> None:
        """Decide how many pods a service has at first, and plan for them."""
        self.fleet.begin(self._decide(0.0).replicas or {})
        self._step(0.0)

    def _heard(self) -> None:
        if self._policy.wakes:
            self._news.set()

    async def run(self) -> None:
        """Take steps for ever."""
        loop = asyncio.get_running_loop()
        due_s = loop.time() + self._policy.every_s
        while True:
            until_s = min(due_s, loop.time() + settles_in_s(self._memory.lowered, loop.time()))
            if not await self._woken(until_s) and until_s == due_s:
                due_s += self._policy.every_s
                self._reading = self._read(loop.time())
            self._news.clear()
            self._step(loop.time())

    async def _woken(self, due_s: float) -> bool:
        """Return True when there was news of pods, False when the next reading is due."""
        try:
            async with asyncio.timeout_at(due_s):
                await self._news.wait()
                await asyncio.sleep(_NEWS_S)
        except TimeoutError:
            return False
        return True

    def _step(self, now: float) -> None:
        decision = self._decide(now)
        if decision.replicas is not None:
            self.fleet.apply(decision.replicas)
        if decision.plan is not None and decision.plan != self._routers.plan:
            self._routers.set_plan(decision.plan)
            self._planned(now, decision.plan)

    def _decide(self, now: float) -> Decision:
        snapshot = snapshot_of(now, self._setting, self._reading, *self.fleet.observe())
        decision = self._policy.decide(snapshot, self._memory)
        self._memory = decision.memory
        return decision

    def _read(self, now: float) -> DemandReading | Problem:
        if self._setting.disturbances.blind_at(now):
            return _BLIND
        waits = [router.queued_s for router in self._routers]
        return DemandReading(
            now,
            {size: float(count) for size, count in self._arrivals.items()},
            {tier: sum(each[tier] for each in waits) for tier in self._setting.profile.tiers},
            ratios=mean_ratios(router.ratios for router in self._routers),
            worker_ratios=mean_worker_ratios(router.worker_ratios for router in self._routers),
            sizes={size: size for size in self._arrivals},
            restricted={tiers: {"": float(count)} for tiers, count in self._restricted.items()},
        )
