"""Operator, `hadis up` and the replay observe one sequence in their own ways, and take the same control step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from documents import profile_document
from hadis.api.resources import CascadeProfile, ServiceSpec
from hadis.cli import control_loop
from hadis.cli.local_workers import LocalWorkers, Place
from hadis.cli.processes import Component
from hadis.planning.decide import Decision, decide
from hadis.planning.fleet import is_shared
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.planning.snapshot import DemandReading, Memory, Problem, Snapshot
from hadis.planning.tuning import Tuning
from hadis.protocol.labels import COMPONENT, EVERY_TIER, POOL, REVISION, SERVICE, tiers_by_pool
from hadis_operator import children, observe
from hadis_operator.cache import Cache
from hadis_operator.children.common import Owner
from hadis_operator.settings import OperatorSettings
from hadis_profiler.replay import simulate
from hadis_profiler.replay.fleet import observe_workers
from hadis_profiler.replay.policies import Hadis

GPUS, EVERY_S = 4, 2.0
PROFILE = Profile(CascadeProfile.read(profile_document()))


@dataclass(frozen=True)
class Situation:
    """What there is at a time: (asked for, ready) by group of workers, and what routers tell."""

    at_s: float
    workers: Mapping[str, tuple[int, int]]
    arrivals: int | None
    """None: nobody can tell."""
    queued_s: Mapping[str, float] = field(default_factory=dict)


def situations(placement: str) -> list[Situation]:
    """Return a start, ready workers, demand that rises, some time without readings, and demand again."""
    if placement == "Shared":
        fleets = [{EVERY_TIER: (n, ready)} for n, ready in ((0, 0), (4, 0), (4, 2), (4, 4), (4, 4), (4, 3), (4, 4))]
    else:
        counts = (0, 0, 0, 0), (1, 0, 3, 0), (1, 1, 3, 0), (1, 1, 3, 3), (2, 1, 2, 2), (3, 2, 1, 1), (3, 3, 1, 1)
        fleets = [{"light": (a, b), "heavy": (c, d)} for a, b, c, d in counts]
    # (steps, requests per second, whether they are told, fleet, heavy GPU seconds that wait)
    phases = [
        (1, 0, True, 0, 0.0),
        (1, 0, False, 1, 0.0),
        (3, 0, True, 2, 0.0),
        (5, 2, True, 3, 0.0),
        (4, 6, True, 4, 1.5),
        (4, 20, True, 5, 6.0),
        (5, 20, False, 6, 0.0),
        (8, 3, True, 6, 0.0),
    ]
    found: list[Situation] = []
    arrivals = 0
    for steps, rps, told, fleet, queued_s in phases:
        for _ in range(steps):
            arrivals += int(rps * EVERY_S)
            at_s = 1000.0 + EVERY_S * len(found)
            found.append(Situation(at_s, fleets[fleet], arrivals if told else None, {"heavy": queued_s}))
    return found


def spec_of(placement: str) -> ServiceSpec:
    document = {
        "profile": "two",
        "objective": {"latency": "4s"},
        "gpus": {"min": GPUS, "max": GPUS},
        "placement": placement,
        "planEvery": f"{EVERY_S}s",
    }
    return ServiceSpec.read(document)


def reading_of(situation: Situation, routers: int) -> DemandReading | Problem:
    """Return what so many routers tell, each a part."""
    if situation.arrivals is None:
        return Problem("NoRouter", "none answers")
    parts = [situation.arrivals // routers] * (routers - 1)
    series = dict(enumerate([*parts, situation.arrivals - sum(parts)]))
    return DemandReading(situation.at_s, {f"r{i}": float(n) for i, n in series.items()}, situation.queued_s)


Observe = Callable[[Situation], Awaitable[Snapshot]]
Decide = Callable[[Snapshot, Memory], Decision]


@asynccontextmanager
async def operator(spec: ServiceSpec) -> AsyncIterator[tuple[Observe, Decide]]:
    """The operator: Deployments and pods, as its cache parses them."""
    cache = Cache(lambda service: None)
    shared = is_shared(spec, PROFILE)
    desired = children.make(Owner("images", "default", "u"), spec, OperatorSettings(), PROFILE, shared=shared)

    async def look(situation: Situation) -> Snapshot:
        deployments, pods = [], []
        for pool, (asked, ready) in situation.workers.items():
            document = desired.workers[pool]
            status = {"replicas": asked, "observedGeneration": 1}
            meta = document["metadata"] | {"generation": 1}
            item = document | {"metadata": meta, "spec": document["spec"] | {"replicas": asked}, "status": status}
            deployments += [item] if asked else []
            pods += [_pod(f"{pool}-{i}", meta["labels"], ready=i < ready) for i in range(asked)]
        cache.replace("deployments", "default", deployments)
        cache.replace("pods", "default", pods)
        for item in (*deployments, *pods):
            cache.saw("deployments" if "kind" in item else "pods", "MODIFIED", item)
        return observe.snapshot_of(
            now_s=situation.at_s,
            spec=spec,
            profile=PROFILE,
            children=desired,
            reading=reading_of(situation, routers=3),
            deployments=cache.deployments("default", "images", "worker"),
            worker_pods=cache.pods("default", "images", "worker"),
            routers=3,
            late_s=600.0,
        )

    yield look, decide


def _pod(name: str, labels: dict[str, str], *, ready: bool) -> dict[str, Any]:
    kept = {key: labels[key] for key in (SERVICE, COMPONENT, POOL, REVISION)}
    conditions = [{"type": "Ready", "status": str(ready)}]
    return {
        "metadata": {"name": name, "namespace": "default", "labels": kept},
        "status": {"conditions": conditions, "podIP": "10.0.0.1"},
    }


class Idle:
    """What runs in place of a worker's process."""

    def __init__(self, component: Component, say: Callable[[str], None], changed: Callable[[], None]) -> None:
        """Start nothing."""

    async def run(self) -> None:
        await asyncio.Event().wait()


@asynccontextmanager
async def up(spec: ServiceSpec) -> AsyncIterator[tuple[Observe, Decide]]:
    """`hadis up`: processes at places, asked whether they are ready."""
    groups = tiers_by_pool(PROFILE.tiers, shared=is_shared(spec, PROFILE))
    places = [Place(i, 9000 + i, {}) for i in range(GPUS)]
    ready: dict[str, int] = {}
    """How many of each group's workers say that they are ready."""
    left: dict[str, int] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        group = next(w.group for w in workers.observe()[1] if 9000 + int(w.name) == request.url.port)
        left[group] -= 1
        return httpx.Response(200, json={"tiers": [], "ready": left[group] >= 0, "busy": False})

    async with asyncio.TaskGroup() as tasks, httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        workers = LocalWorkers(groups, places, tasks, print, lambda: None, child=Idle)

        async def look(situation: Situation) -> Snapshot:
            asked = {group: count for group, (count, _) in situation.workers.items()}
            for counts in ({g: min(n, _running(workers, g)) for g, n in asked.items()}, asked):
                workers.apply(counts)  # what goes must be gone before its place is taken
                for _ in range(3):
                    await asyncio.sleep(0)
            ready.update({group: count for group, (_, count) in situation.workers.items()})
            left.update(ready)
            await workers.probe(http)
            reading = reading_of(situation, routers=1)
            return control_loop.snapshot_of(situation.at_s, spec, PROFILE, workers, reading)

        yield look, decide
        for task in workers.running:
            task.cancel()


def _running(workers: LocalWorkers, group: str) -> int:
    return sum(worker.group == group for worker in workers.observe()[1])


@asynccontextmanager
async def replay(spec: ServiceSpec) -> AsyncIterator[tuple[Observe, Decide]]:
    """The replay: simulated workers, of which some change their tier."""
    setting = simulate.Setting(PROFILE, spec)
    groups = tiers_by_pool(PROFILE.tiers, shared=is_shared(spec, PROFILE))

    async def look(situation: Situation) -> Snapshot:
        names = {g: [f"{g}-{i}" for i in range(count)] for g, (count, _) in situation.workers.items()}
        changing = {name for g, (_, ready) in situation.workers.items() for name in names[g][ready:]}
        group_of = {name: group for group, each in names.items() for name in each}
        seen = observe_workers(groups, group_of, changing)
        return simulate.snapshot_of(situation.at_s, setting, reading_of(situation, routers=1), *seen)

    yield look, Hadis(PROFILE, Tuning(), EVERY_S).decide


@dataclass(frozen=True)
class Decided:
    """What of a decision must be the same, whoever took it."""

    plan: Plan | None
    target: Plan | None
    workers_by_tier: Mapping[str, int]
    ready_by_tier: Mapping[str, int]
    replicas_by_tiers: Mapping[tuple[str, ...], int]


async def decisions(adapter: Callable[[ServiceSpec], Any], placement: str) -> list[Decided]:
    """Return what an adapter decides along the sequence."""
    memory, found = Memory(), []
    async with adapter(spec_of(placement)) as (look, step):
        for situation in situations(placement):
            snapshot = await look(situation)
            decision = step(snapshot, memory)
            memory = decision.memory
            tiers_of = {group.name: group.tiers for group in snapshot.groups}
            replicas: dict[tuple[str, ...], int] = {}
            for name, count in (decision.replicas or {}).items():
                replicas[tiers_of[name]] = replicas.get(tiers_of[name], 0) + count
            found.append(
                Decided(decision.plan, decision.target, decision.workers_by_tier, decision.ready_by_tier, replicas)
            )
    return found


@pytest.mark.parametrize("placement", ["Shared", "Dedicated"])
async def test_operator_up_and_replay_take_the_same_step(placement: str) -> None:
    by_operator = await decisions(operator, placement)
    assert by_operator == await decisions(up, placement)
    assert by_operator == await decisions(replay, placement)
    # The sequence says something: it begins with nothing, and the plan follows the demand and is held meanwhile.
    plans = [decided.plan for decided in by_operator]
    assert plans[0] is None
    assert by_operator[0].ready_by_tier == {"light": 0, "heavy": 0}
    calm, busy, blind, after = plans[9], plans[17], plans[22], plans[-1]
    assert calm
    assert busy
    assert blind
    assert after
    assert calm.quality < busy.quality
    assert after.quality < busy.quality
    assert blind.demand_rps == busy.demand_rps
    assert all(sum(decided.replicas_by_tiers.values()) <= GPUS for decided in by_operator)
    assert {sum(decided.workers_by_tier.values()) for decided in by_operator} == {GPUS}
