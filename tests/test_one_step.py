"""Operator, `hadis up` and the replay live through one sequence in their own ways, and take the same control steps."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from adapters import (
    EVERY_S,
    OperatorAdapter,
    Recorder,
    ReplayAdapter,
    UpAdapter,
    replicas_by_tiers,
    run,
)
from documents import profile_document
from hadis.api.resources import CascadeProfile, ServiceSpec
from hadis.planning.decide import Decision
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.planning.snapshot import Snapshot
from hadis.planning.watched_quality import WatchSums
from moments import Moment
from virtual import virtual

GPUS, LARGE = 4, "64x32"
CALLERS = (
    "hadis_operator.reconciler",
    "hadis.planning.gpu_pool",
    "hadis.cli.control_loop",
    "hadis_profiler.replay.policies",
)
SLOW = {"light": {1: 1.2345678, 2: 1.1}, "heavy": {1: 1.5}}
GOOD = {"images": 500, "missed": 5}


def profile_of(*, remote: bool = False, **changes: Any) -> Profile:
    """Return the profile of two tiers of two sizes; if `remote`, an endpoint of two slots makes the heavy one."""
    document = profile_document(**changes)
    for tier in document["spec"]["tiers"]:
        tier["sizes"] = [tier.pop("size"), LARGE]
        tier["latency"] += [point | {"size": LARGE, "seconds": 2 * point["seconds"]} for point in tier["latency"]]
    if remote:
        document["spec"]["tiers"][1] |= {"remote": {"url": "http://engine/v1", "slots": 2}, "tunable": False}
    return Profile(CascadeProfile.read(document))


def spec_of(placement: str, **fields: Any) -> dict[str, Any]:
    """Return the document of a spec."""
    return {
        "profile": "two",
        "objective": {"latency": "4s"},
        "gpus": {"min": GPUS, "max": GPUS},
        "placement": placement,
        "planEvery": f"{EVERY_S:g}s",
        **fields,
    }


@dataclass(frozen=True)
class Phase:
    """So many steps with so many requests per second."""

    steps: int
    rps: float = 0.0
    large_rps: float = 0.0
    """Of those, of the larger size."""
    heavy_rps: float = 0.0
    """Of those, that the heavy tier alone may make."""
    with_sizes: bool = True
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Of its moments."""


DAY = (
    Phase(1, with_sizes=False),
    Phase(4),
    Phase(5, 2),
    Phase(5, 6, changes={"queued_s": 1.5}),
    Phase(5, 20, changes={"queued_s": 6.0}),
    Phase(3, 20, changes={"away": 1}),
    Phase(5, with_sizes=False),
    Phase(15, 3, 2, 1, changes={"ratios": SLOW}),
)
"""A start, demand that rises, workers that are away, readings that stop, and another demand, with slow batches and
requests that one tier alone may make."""


def moments(profile: Profile, phases: Iterable[Phase], *, restart_at: int = -1) -> list[Moment]:
    """Return the moments of some phases."""
    result: list[Moment] = []
    small, large, restricted = 0, 0, 0
    for phase in phases:
        for _ in range(phase.steps):
            small += int((phase.rps - phase.large_rps) * EVERY_S)
            large += int(phase.large_rps * EVERY_S)
            restricted += int(phase.heavy_rps * EVERY_S)
            arrivals = {"auto": small, LARGE: large} if phase.with_sizes else None
            moment = Moment(profile, arrivals, restricted, restarts=len(result) == restart_at)
            result.append(replace(moment, **phase.changes))
    return result


@dataclass(frozen=True)
class Decided:
    """What of a decision must be the same, whoever took it."""

    plan: Plan | None
    target: Plan | None
    canary: object
    workers_by_tier: Mapping[str, int]
    ready_by_tier: Mapping[str, int]
    replicas_by_tiers: Mapping[tuple[str, ...], int]
    conditions: Mapping[str, tuple[str, str]]


def decided(taken: Iterable[tuple[Snapshot, Decision]]) -> list[Decided]:
    """Return what must be the same of each step."""
    return [
        Decided(
            plan=each.plan,
            target=each.target,
            canary=each.canary,
            workers_by_tier=each.workers_by_tier,
            ready_by_tier=each.ready_by_tier,
            replicas_by_tiers=replicas_by_tiers(snapshot, each.replicas or {}),
            conditions={entry.type: (entry.status, entry.reason) for entry in each.conditions},
        )
        for snapshot, each in taken
    ]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Return what stands in for `decide` wherever it is called."""
    recorder = Recorder()
    for module in CALLERS:
        monkeypatch.setattr(f"{module}.decide", recorder)
    return recorder


async def by_operator(spec: Mapping[str, Any], each: list[Moment], recorder: Recorder) -> list[Decided]:
    return decided(await run(OperatorAdapter(spec), each, recorder))


async def by_replay(spec: Mapping[str, Any], each: list[Moment], recorder: Recorder) -> list[Decided]:
    return decided(await run(ReplayAdapter(ServiceSpec.read(spec), each[0]), each, recorder))


async def by_up(spec: Mapping[str, Any], each: list[Moment], recorder: Recorder, folder: Path) -> list[Decided]:
    async with asyncio.TaskGroup() as tasks:
        adapter = UpAdapter(ServiceSpec.read(spec), each[0], folder, tasks)
        taken = decided(await run(adapter, each, recorder))
        for task in adapter.workers.running:
            task.cancel()
    return taken


def assert_same(some: list[Decided], others: list[Decided]) -> None:
    """As equality, and it says which step differs first, in what."""
    for number, (one, other) in enumerate(zip(some, others, strict=True)):
        assert (number, one) == (number, other)


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("placement", ["Shared", "Dedicated"])
@virtual
async def test_operator_up_and_replay_take_the_same_steps(
    placement: str, remote: bool, recorder: Recorder, tmp_path: Path
) -> None:
    spec, day = spec_of(placement), moments(profile_of(remote=remote), DAY)
    steps = await by_operator(spec, day, recorder)
    assert_same(steps, await by_up(spec, day, recorder, tmp_path))
    assert_same(steps, await by_replay(spec, day, recorder))
    # The sequence says something: it begins with nothing, and the plan follows the demand and is held meanwhile.
    assert (steps[0].plan, steps[0].ready_by_tier) == (None, {"light": 0, "heavy": 0})
    calm, busy, blind, last = (steps[number].plan for number in (9, 19, 27, -1))
    assert calm and busy and blind and last
    assert calm.quality < busy.quality
    assert blind.demand_rps == busy.demand_rps
    assert steps[-1].conditions["ProfileFresh"] == ("False", "Stale")
    assert steps[-1].conditions["PlanApplied"] == ("True", "Applied")


@virtual
async def test_they_rest_and_wake_alike(recorder: Recorder, tmp_path: Path) -> None:
    spec = spec_of("Shared", gpus={"max": 1, "idleAfter": "20s"})
    rest = [
        replace(moment, idle_s=EVERY_S * number) for number, moment in enumerate(moments(profile_of(), [Phase(30)]))
    ]
    [woken] = moments(profile_of(), [Phase(1, 1)])
    day = [*rest, *[replace(woken, arrivals={"auto": 2, LARGE: 0})] * 6]
    steps = await by_operator(spec, day, recorder)
    assert_same(steps, await by_up(spec, day, recorder, tmp_path))
    assert_same(steps, await by_replay(spec, day, recorder))
    assert [step.conditions["Idle"][1] for step in (steps[3], steps[29], steps[30])] == ["InUse", "NoRequest", "Waking"]
    assert steps[-1].conditions["Ready"] == ("True", "Serving")


@virtual
async def test_operator_and_replay_try_a_new_profile_alike(recorder: Recorder) -> None:
    spec = spec_of("Shared", rollout={"canary": 0.1, "for": "60s"})
    old, new = profile_of(), profile_of(source="measured again")
    counted = {profile.hash: GOOD for profile in (old, new)}
    day = [*moments(old, [Phase(10, 2)]), *moments(new, [Phase(40, 2, changes={"counted": counted})])]
    steps = await by_operator(spec, day, recorder)
    assert_same(steps, await by_replay(spec, day, recorder))
    assert [step.conditions["ProfileRollout"][1] for step in (steps[9], steps[20], steps[-1])] == [
        "InForce",
        "Comparing",
        "TakenOver",
    ]
    assert steps[20].canary and not steps[-1].canary


@virtual
async def test_they_judge_the_quality_in_service_alike(recorder: Recorder, tmp_path: Path) -> None:
    spec = spec_of("Shared", qualityWatch={})
    good = WatchSums(
        images=200, answered=160, answered_squares=140, low=150, high=170, heavy=170, heavy_squares=150,
        heavy_profiled=170, difficulties=(30.0,) * 5,
    )  # fmt: skip
    worse = replace(good, answered=60, answered_squares=50)
    phases = [Phase(5, 2, changes={"watched": sums}) for sums in (None, good, worse)]
    day = moments(profile_of(), [*phases, Phase(2, with_sizes=False)])
    steps = await by_operator(spec, day, recorder)
    assert_same(steps, await by_up(spec, day, recorder, tmp_path))
    assert_same(steps, await by_replay(spec, day, recorder))
    entries = [step.conditions["QualityAsPredicted"] for step in (steps[4], steps[9], steps[14], steps[-1])]
    assert entries == [
        ("Unknown", "TooFewImages"),
        ("True", "AsPredicted"),
        ("False", "AnswersWorse"),
        ("False", "AnswersWorse"),
    ]


@virtual
async def test_operator_and_replay_take_of_a_pool_alike(recorder: Recorder) -> None:
    spec = spec_of("Dedicated", gpus={"max": GPUS, "pool": "all"})
    day = [
        replace(moment, pool_gpus=3 if number < 20 else 2)
        for number, moment in enumerate(moments(profile_of(), [Phase(40, 4)]))
    ]
    steps = await by_operator(spec, day, recorder)
    assert_same(steps, await by_replay(spec, day, recorder))
    assert [sum(step.workers_by_tier.values()) for step in (steps[19], steps[-1])] == [3, 2]


@pytest.mark.parametrize("placement", ["Shared", "Dedicated"])
@virtual
async def test_an_operator_that_is_started_anew_comes_to_the_same_step(placement: str, recorder: Recorder) -> None:
    # At the end, the longest window of the demand holds nothing of before the restart.
    day, restart_at = [Phase(10, 2), Phase(60, 3, 2, changes={"ratios": SLOW})], 22
    spec = spec_of(placement)
    steady = await by_operator(spec, moments(profile_of(), day), recorder)
    killed = await by_operator(spec, moments(profile_of(), day, restart_at=restart_at), recorder)
    assert_same(steady[:restart_at], killed[:restart_at])
    before, held = steady[restart_at - 1], killed[restart_at]
    assert before.plan and held.plan and held.plan.routes_like(before.plan)
    assert (held.target, held.workers_by_tier) == (None, before.workers_by_tier)
    assert held.conditions["CapacitySufficient"][0] == "Unknown"
    assert unnumbered(steady[-1]) == unnumbered(killed[-1])


def unnumbered(step: Decided) -> Decided:
    """Return a step whose plan has no generation: until the demand is known again, there may be plans between."""
    assert step.plan is not None
    return replace(step, plan=step.plan.numbered(0))
