"""The control loop of `hadis up`: observe the processes, decide, start and stop them and tell the router."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from hadis.api.fields import parse_duration_s
from hadis.api.resources import Gpus, ServiceSpec
from hadis.api.status import CHANGES_KEPT, PlanChange
from hadis.api.times import rfc3339
from hadis.cli.local_workers import LocalWorkers
from hadis.cli.processes import is_ready
from hadis.planning.decide import Decision, decide
from hadis.planning.idle import idle_message
from hadis.planning.lowered import settles_in_s
from hadis.planning.memory import Memory
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.planning.snapshot import DemandReading, Problem, Quiet, Snapshot
from hadis.planning.watched_quality import CONDITION, watch_sums
from hadis.protocol.address import worker_name
from hadis.protocol.router_status import RouterStatus
from hadis.protocol.run_state import RunState, write_state
from hadis.protocol.secret import as_header

_PROBE_S = 2.0
_FIRST_STEPS_S = 0.2
"""Time between steps until the first plan, so that the first image comes soon."""
_IDLE_STEPS_S = 1.0
"""The same while no worker runs because there was no request."""


@dataclass
class ControlLoop:
    """Takes the control step of one service on one machine."""

    spec: ServiceSpec
    profile: Profile
    workers: LocalWorkers
    url: str
    """The router's."""
    state_file: Path
    """Where the router reads plan and workers."""
    say: Callable[..., None]
    changed: asyncio.Event
    """Set when a worker became ready or ended."""
    secret: str | None = field(default=None, repr=False)
    """What the router believes us by."""
    memory: Memory = field(default_factory=Memory)
    """What outlives a step; at first, what a run before this one learnt."""
    _announced: Plan | None = None
    _changes: deque[PlanChange] = field(default_factory=lambda: deque(maxlen=CHANGES_KEPT))
    _state: RunState | None = None
    _quality: str = ""
    """What was known last of the quality that is watched."""

    async def run(self) -> None:
        """Take steps for ever: every few seconds, and when a worker became ready or ended."""
        every_s = parse_duration_s(self.spec.plan_every)
        async with httpx.AsyncClient(timeout=_PROBE_S) as http:
            while True:
                self.changed.clear()
                decision = await self.step(http)
                try:
                    # Not wait_for, which before Python 3.12 forgets a cancellation that comes with the event.
                    settles_s = settles_in_s(decision.memory.lowered, asyncio.get_running_loop().time())
                    async with asyncio.timeout(min(settles_s, _pause_s(decision, every_s))):
                        await self.changed.wait()
                except TimeoutError:
                    continue

    async def step(self, http: httpx.AsyncClient) -> Decision:
        """Observe, decide and act, once."""
        decision = decide(await self._observe(http, self._spec_here()), self.memory)
        self.memory = decision.memory
        self.workers.apply(decision.replicas or {})
        self._publish(decision)
        return decision

    def _spec_here(self) -> ServiceSpec:
        # On one machine the budget is the workers that were asked for, and all of them are there to be used.
        count = sum(not place.remote for place in self.workers.places)
        # With `idleAfter` they all go all the same: only what users write may not ask for both.
        gpus = Gpus(min=count, max=count).model_copy(update={"idle_after": self.spec.gpus.idle_after})
        each = self.spec.worker.model_copy(update={"gpus_per_worker": 1})  # what is counted here are places
        price, taken = self.spec.objective.gpu_price, self.spec.worker.gpus_per_worker
        of_place = {"gpu_price": None if price is None else price * taken}
        objective = self.spec.objective.model_copy(update=of_place)
        return self.spec.model_copy(update={"gpus": gpus, "mode": "Auto", "worker": each, "objective": objective})

    async def _observe(self, http: httpx.AsyncClient, spec: ServiceSpec) -> Snapshot:
        urls = [worker.url for worker in self.workers.addresses()]
        _, reading = await asyncio.gather(self.workers.probe(http), _read_demand(http, self.url, urls, self.secret))
        return snapshot_of(asyncio.get_running_loop().time(), spec, self.profile, self.workers, reading)

    def _publish(self, decision: Decision) -> None:
        """Tell the router the plan and the workers, and people what changed."""
        plan = decision.plan
        if plan is not None and (self._announced is None or plan.differs_notably(self._announced)):
            self._announced = plan
            self._changes.append(PlanChange(time=rfc3339(time.time()), summary=plan.headline, reason=plan.reason))
            self.say(f"plan {plan.generation}: {plan.headline}; {plan.reason}", soft_wrap=True)
        self._print_quality(decision)
        idle = idle_message(decision.conditions)
        if idle and (self._state is None or idle != self._state.idle):
            self.say(idle, soft_wrap=True)
        state = RunState(
            plan=decision.memory.plan,
            workers=self.workers.addresses(),
            observed_rps=round(decision.memory.demand.observed_rps, 3),
            forecast_rps=round(decision.forecast_rps, 3),
            changes=tuple(self._changes),
            idle=idle,
            start_s=decision.memory.rest.start_s,
            batch_time_ratios=decision.memory.ratios,
            profile_hash=decision.memory.profile_hash,
        )
        if state != self._state:
            write_state(self.state_file, state)
            self._state = state

    def _print_quality(self, decision: Decision) -> None:
        """Tell people when the quality that is watched is not as predicted any more, or is so again."""
        quality = next((each for each in decision.conditions if each.type == CONDITION), None)
        if quality is not None and quality.status != "Unknown" and quality.status != self._quality:
            if (self._quality, quality.status) != ("", "True"):
                self.say(f"{CONDITION} is {quality.status}: {quality.message}", soft_wrap=True)
            self._quality = quality.status


def snapshot_of(
    now_s: float, spec: ServiceSpec, profile: Profile, workers: LocalWorkers, reading: DemandReading | Problem
) -> Snapshot:
    """Return one machine as the control step sees it."""
    groups, processes = workers.observe()
    return Snapshot(
        now_s=now_s,
        spec=spec,
        profile=profile,
        reading=reading,
        workers=processes,
        groups=groups,
        quiet=reading.quiet if isinstance(reading, DemandReading) else None,
    )


def _pause_s(decision: Decision, every_s: float) -> float:
    if decision.memory.rest.idle:
        return min(every_s, _IDLE_STEPS_S)
    return every_s if decision.plan else _FIRST_STEPS_S


async def _read_demand(
    http: httpx.AsyncClient, url: str, workers: Iterable[str] = (), secret: str | None = None
) -> DemandReading | Problem:
    """Return the router's counts of arrivals by size and the work that waits by tier, or that it does not answer."""
    try:
        answer = (await http.get(f"{url}/v1/hadis/status", headers=as_header(secret))).raise_for_status()
        status = RouterStatus.read(answer.content)
    except (httpx.HTTPError, ValueError) as error:
        return Problem("NoRouter", f"the router does not answer: {error!r}")
    urls = {worker_name(url): url for url in workers}
    return DemandReading(
        at_s=asyncio.get_running_loop().time(),
        series={size: float(count) for size, count in status.arrivals_by_size.items()},
        queued_s=status.queued_s,
        ratios=status.batch_time_ratios,
        worker_ratios={urls[each.name]: each.time_ratio for each in status.workers if each.name in urls},
        source=url,
        sizes={size: size for size in status.arrivals_by_size},
        restricted={tiers: {url: float(count)} for tiers, count in status.restricted_arrivals.items()},
        quiet=Quiet(math.inf if status.idle_s is None else status.idle_s),
        quality=None if status.quality is None else watch_sums(status.quality.sums),
    )


async def greet(url: str, workers: int, say: Callable[..., None], keyed: bool = False) -> None:
    """Wait until the first image can be asked for, and say how; `keyed`: only who has an API key may."""
    began = time.monotonic()
    say(f"starting a router and {workers} workers; models load")
    async with httpx.AsyncClient(timeout=_PROBE_S) as client:
        while not await is_ready(client, f"{url}/readyz"):  # noqa: ASYNC110 (another process is waited for)
            await asyncio.sleep(_FIRST_STEPS_S)
    body = '{"prompt":"a big red circle top left and a small blue square bottom right on white"}'
    say(f"ready after {time.monotonic() - began:.1f} s at {url}; try:")
    if keyed:
        say("  export HADIS_API_KEY=...   # one of those in the file of keys")
    key = ' -H "authorization: Bearer $HADIS_API_KEY"' if keyed else ""
    say(
        f"  curl -s {url}/v1/images/generations -H 'content-type: application/json'{key} -d '{body}' \\\n"
        '    | grep -o \'"b64_json":"[^"]*\' | cut -d \'"\' -f 4 | base64 -d > image.png\n'
        f"  hadis generate 'a big red circle top left on white' --url {url} -o out.png\n"
        f"  hadis load --rps 1..12 --minutes 3 --url {url}",
        soft_wrap=True,
    )
