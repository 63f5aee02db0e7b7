"""Workers that take several GPUs each: the budget and what people are told count GPUs, the planner counts workers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hadis.api.resources import Objective
from hadis.planning.gpu_budget import GroupCount, count_groups, next_replicas
from hadis.planning.lowered import remember_lowered
from hadis.planning.memory import Lowered, Memory
from hadis.planning.profile import Profile
from hadis.planning.snapshot import Worker, WorkerGroup
from hadis.planning.solve import Solver
from hypothesis import given
from hypothesis import strategies as st
from test_decide import TIERS, UNREAD, Service, group_of, make_spec, statuses, total


def counted(name: str, gpus: int, *, stale: bool = False, replicas: int = 0) -> GroupCount:
    return GroupCount(name, replicas, replicas, replicas, 0, replicas, stale, gpus)


def taken(groups: list[GroupCount]) -> int:
    return sum((group.live + group.terminating) * group.gpus for group in groups)


def followed(group: GroupCount, replicas: int) -> GroupCount:
    """Return a group whose controllers have followed: what was over terminates, what was missing is not ready yet."""
    ending = max(0, group.live - replicas)
    return replace(
        group,
        replicas=replicas,
        committed=replicas,
        live=replicas,
        terminating=ending,
        ready=min(group.ready, replicas),
    )


@given(old=st.integers(1, 9), new=st.integers(1, 9), budget=st.integers(1, 40), desired=st.integers(0, 12))
def test_workers_of_another_size_take_over_within_the_budget(old: int, new: int, budget: int, desired: int) -> None:
    target = min(desired, budget // new)
    groups = [counted("old", old, stale=True, replicas=budget // old), counted("new", new)]
    for _ in range(200):
        replicas = next_replicas(groups, {"new": target}, budget)
        groups = [followed(group, replicas[group.name]) for group in groups]
        assert taken(groups) <= budget
        # Then those that terminate are gone, and those that start are ready.
        groups = [replace(group, terminating=0, ready=group.live) for group in groups]
    assert [group.live for group in groups] == [0, target]


def test_workers_whose_group_is_gone_hold_their_gpus(profile: Profile) -> None:
    service = Service(profile, make_spec(gpus={"max": 8}, worker={"gpusPerWorker": 4}))
    orphan = Worker("w", "gone", ("light",), gpus=4, terminating=True)
    _, workers = group_of("a", ("light",), 1)
    groups = (WorkerGroup("a", ("light",), replicas=1, created=1, gpus=4),)
    snapshot = service.snapshot(0.0, UNREAD, (groups, (*workers, orphan)))
    counts = count_groups(snapshot, Memory(lowered={"left": Lowered(2, gpus=2)}))
    assert {each.name: each.gpus for each in counts} == {"a": 4, "gone": 4, "left": 2}
    assert remember_lowered(groups, {"a": 0}, {}) == {"a": Lowered(1, gpus=4)}


def test_a_service_asks_for_workers_within_its_gpus(profile: Profile) -> None:
    service = Service(profile, make_spec(gpus={"max": 7}, worker={"gpusPerWorker": 2}))
    nobody = (WorkerGroup("ALL", TIERS, exists=False, gpus=2),), ()
    service.step(0, 0, nobody)
    decision = service.step(2, 1000, nobody)
    assert (total(decision), decision.replicas) == (3, {"ALL": 3})
    condition = next(c for c in decision.conditions if c.type == "CapacitySufficient")
    assert statuses(decision)["CapacitySufficient"] == ("False", "TooFewGpus")
    assert condition.message.endswith("GPUs, there are 6")


@pytest.mark.parametrize(("each", "words"), [(1, "need 11 GPUs, there are 2"), (4, "need 44 GPUs, there are 8")])
def test_people_are_told_of_gpus(profile: Profile, each: int, words: str) -> None:
    solver = Solver(profile, Objective(latency="4s"), shared=True, gpus_per_worker=each)
    assert words in solver.solve(100.0, 2).reason
    assert f"on {2 * each} GPUs" in solver.solve(0.1, 2).reason
