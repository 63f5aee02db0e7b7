"""The replay acts on what the control step decides: pods of each group end and start, always within the budget."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hadis.api.resources import ServiceSpec
from hadis.planning.decide import Decision
from hadis.planning.memory import Memory
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.planning.snapshot import Problem, Snapshot
from hadis.planning.tuning import Tuning
from hadis.protocol.run_state import WorkerAddress
from hadis_profiler.replay.disturbance_options import read_disturbances
from hadis_profiler.replay.disturbances import BatchFactors, Disturbances
from hadis_profiler.replay.fleet import Fleet, groups_of
from hadis_profiler.replay.inputs import drawn_prompts
from hadis_profiler.replay.policies import POLICIES, Hadis, Making
from hadis_profiler.replay.setting import Setting
from hadis_profiler.replay.simulate import Outcome, replay
from hadis_profiler.replay.transport import TableTransport
from hadis_router.dispatch.image_params import ImageParams
from hadis_router.dispatch.job import Job
from virtual import virtual

START_S = 3.0


def spec_of(placement: str = "Dedicated", **fields: Any) -> ServiceSpec:
    document = {"profile": "two", "objective": {"latency": "4s"}, "gpus": {"min": 4, "max": 4}, "placement": placement}
    return ServiceSpec.read(document | fields)


def rising(seconds: int) -> list[tuple[float, int]]:
    """Return arrivals that rise from 1 to 20 requests/s, and fall again."""
    draw, at, found = random.Random(1), 0.0, []
    while at < seconds:
        at += draw.expovariate(1 + 19 * (1 - abs(2 * at / seconds - 1)))
        found.append((at, draw.randrange(1000)))
    return found


class Watched(Hadis):
    """Our policy, with what it saw and decided."""

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile, Tuning(), 1.0)
        self.steps: list[tuple[Snapshot, Decision]] = []

    def decide(self, snapshot: Snapshot, memory: Memory) -> Decision:
        decision = super().decide(snapshot, memory)
        self.steps.append((snapshot, decision))
        return decision


def run(setting: Setting, seconds: int = 60) -> tuple[Watched, list[Outcome], list[tuple[float, Plan]]]:
    policy, outcomes, plans = Watched(setting.profile), list[Outcome](), list[tuple[float, Plan]]()
    prompts = drawn_prompts(setting.profile, 0, 1000)
    replay(setting, policy, rising(seconds), prompts, outcomes.append, None, lambda at, plan: plans.append((at, plan)))
    return policy, outcomes, plans


@pytest.mark.parametrize("each", [1, 2])
@pytest.mark.parametrize("lose", [[], ["1@20"]])
def test_pods_follow_the_decision_within_the_budget(profile: Profile, each: int, lose: list[str]) -> None:
    gpus = 4 * each
    spec = spec_of(gpus={"min": gpus, "max": gpus}, worker={"gpusPerWorker": each})
    policy, _, _ = run(Setting(profile, spec, START_S, disturbances=read_disturbances(lose=lose)))
    desired = [dict(decision.workers_by_tier) for _, decision in policy.steps]
    assert len({tuple(counts.items()) for counts in desired}) > 2, "GPUs move"
    for (_, before), (after, _) in zip(policy.steps, policy.steps[1:], strict=False):
        assert {g.name: g.replicas for g in after.groups if g.exists} == {
            name: count for name, count in (before.replicas or {}).items() if count or after_knows(after, name)
        }
        pods = Counter(worker.group for worker in after.workers if not worker.terminating)
        assert all(pods[g.name] == g.replicas for g in after.groups)
        assert {worker.gpus for worker in after.workers} == {each}
        assert len(after.workers) * each <= gpus
        waiting = sum(worker.unschedulable is not None for worker in after.workers)
        assert waiting <= len(lose), "who is within the budget finds a GPU"


def after_knows(snapshot: Snapshot, name: str) -> bool:
    return any(group.name == name and group.exists for group in snapshot.groups)


@virtual
async def test_a_pod_ends_after_its_batch_and_the_next_one_starts_on_its_gpu(profile: Profile) -> None:
    transport = TableTransport(profile, drawn_prompts(profile, 0, 10), BatchFactors(Disturbances()))
    published: list[tuple[float, list[WorkerAddress]]] = []
    loop, news = asyncio.get_running_loop(), list[float]()
    setting = Setting(profile, spec_of(gpus={"max": 2}), START_S)
    fleet = Fleet(
        groups_of(setting.spec, profile), 2, START_S, transport,
        lambda ready: published.append((loop.time(), list(ready))), lambda: news.append(loop.time()),
    )  # fmt: skip
    fleet.begin({"light": 1, "heavy": 1})
    light, heavy = WorkerAddress("w0", ("light",)), WorkerAddress("w1", ("heavy",))
    assert published == [(0.0, [light, heavy])]
    batch = asyncio.ensure_future(transport.generate("w1", "heavy", [_job()], False, 9.0, lambda progress: None))
    await asyncio.sleep(0.25)
    fleet.apply({"light": 2, "heavy": 0})
    groups, workers = fleet.observe()
    assert [(w.group, w.ready, w.terminating, w.unschedulable is None) for w in workers] == [
        ("light", True, False, True), ("heavy", False, True, True), ("light", False, False, False),
    ]  # fmt: skip
    assert [(g.replicas, g.created, g.followed) for g in groups] == [(2, 2, True), (0, 0, True)]
    assert published[-1] == (0.25, [light])
    await batch
    assert loop.time() == pytest.approx(1.0), "one image of the heavy tier"
    await asyncio.sleep(START_S + 0.1)
    assert published[-1][0] == pytest.approx(1.0 + START_S)
    assert published[-1][1] == [light, WorkerAddress("w1", ("light",))]
    assert news == [pytest.approx(1.0), pytest.approx(1.0 + START_S)], "gone, and ready"


def _job() -> Job:
    return Job("j", ImageParams(prompt="", seed=0), 0.0, 9.0, asyncio.get_running_loop().create_future(), client="")


@pytest.mark.parametrize("placement", ["Shared", "Dedicated"])
def test_the_plan_is_held_while_nobody_can_be_read(profile: Profile, placement: str) -> None:
    setting = Setting(profile, spec_of(placement), START_S, disturbances=read_disturbances(blind=["35..55"]))
    policy, outcomes, _ = run(setting)
    blind = [(s, d) for s, d in policy.steps if isinstance(s.reading, Problem)]
    assert {round(s.now_s) for s, _ in blind} >= set(range(35, 55))
    seeing = [d for s, d in policy.steps if not isinstance(s.reading, Problem) and s.now_s < 35]
    steady = [d for s, d in blind if sum(w.ready for w in s.workers) == 4]
    assert len(steady) > 15
    held = {d.plan.generation for d in steady if d.plan}
    assert len(held) == 1, "the demand falls by two thirds meanwhile"
    assert placement == "Dedicated" or held == {seeing[-1].plan.generation if seeing[-1].plan else 0}
    assert {tuple(d.workers_by_tier.items()) for _, d in blind} == {tuple(seeing[-1].workers_by_tier.items())}
    assert sum(o.answered_s is not None for o in outcomes) > 0.9 * len(outcomes)


def test_a_rivals_estimate_is_kept_while_nobody_can_be_read(profile: Profile) -> None:
    policy = POLICIES["hadis-paper"](Making(profile, 4.0)).policy
    plans: list[tuple[float, Plan]] = []
    setting = Setting(profile, spec_of("Shared"), disturbances=read_disturbances(blind=["20..45"]))
    prompts = drawn_prompts(profile, 0, 1000)
    replay(setting, policy, rising(60), prompts, lambda o: None, None, lambda at, plan: plans.append((at, plan)))
    assert [at for at, _ in plans if 20 <= at < 45] == []
    assert len(plans) > 5


def test_what_a_replay_does_not_have_is_refused(profile: Profile) -> None:
    with pytest.raises(ValueError, match=r"spec.rollout: a replay has one profile; leave it out"):
        Setting(profile, spec_of(rollout={}))
    assert replace(Setting(profile, spec_of()), seed=1).workers == 4
