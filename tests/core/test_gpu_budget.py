"""The budget's rules one by one; that they keep it whatever happens is tested in `test_promises`."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hadis.api.resources import ServiceSpec
from hadis.planning.gpu_budget import GroupCount, count_groups, may_add, next_replicas
from hadis.planning.lowered import SETTLE_S, remember_lowered, settles_in_s, still_lowered
from hadis.planning.memory import Lowered, Memory
from hadis.planning.snapshot import Problem, Snapshot, Worker, WorkerGroup

SPEC = ServiceSpec.read({"profile": "two", "objective": {"latency": "4s"}, "gpus": {"max": 8}})
NO_PROBLEM = Problem("NotRead", "")


def group(
    name: str, replicas: int, *, committed: int | None = None, live: int = 0, terminating: int = 0, ready: int = 0,
    stale: bool = False,
) -> GroupCount:  # fmt: skip
    return GroupCount(name, replicas, replicas if committed is None else committed, live, terminating, ready, stale)


def test_old_workers_go_some_at_a_time_while_new_ones_come() -> None:
    old, new = group("old", 8, live=8, ready=8, stale=True), group("new", 0)
    assert next_replicas([old, new], {"new": 8}, 8) == {"old": 6, "new": 0}
    old = group("old", 6, live=6, terminating=1, ready=6, stale=True)
    assert next_replicas([old, new], {"new": 8}, 8) == {"old": 6, "new": 1}
    old = group("old", 6, live=6, ready=6, stale=True)
    assert next_replicas([old, new], {"new": 8}, 8) == {"old": 6, "new": 2}


ONLY = group("old", 1, live=1, ready=1, stale=True)


@pytest.mark.parametrize(
    ("fresh", "room", "replicas"),
    [
        (group("new", 0), True, {"old": 1, "new": 1}),
        (group("new", 1, live=1), True, {"old": 1, "new": 1}),
        (group("new", 1, live=1, ready=1), True, {"old": 0, "new": 1}),
        (group("new", 1, live=1), False, {"old": 0, "new": 1}),
    ],
)
def test_the_only_worker_goes_when_the_new_one_is_ready_or_could_not_be(
    fresh: GroupCount, room: bool, replicas: dict[str, int]
) -> None:
    assert next_replicas([ONLY, fresh], {"new": 1}, 8, room=room) == replicas


def test_where_only_one_gpu_is_allowed_the_old_worker_goes_first() -> None:
    assert next_replicas([ONLY, group("new", 0)], {"new": 1}, 1) == {"old": 0, "new": 0}


def test_old_workers_that_serve_nobody_go_at_once() -> None:
    old = group("old", 4, live=4, ready=1, stale=True)
    assert next_replicas([old, group("new", 0)], {"new": 4}, 4)["old"] <= 1


def test_a_count_that_was_just_lowered_is_still_charged() -> None:
    a, b = group("a", 1, committed=6, live=2, ready=2), group("b", 0)
    assert next_replicas([a, b], {"a": 1, "b": 7}, 8) == {"a": 1, "b": 2}
    # Wanted again while its old workers terminate: they must be gone before.
    a = group("a", 2, committed=8, live=2, terminating=6, ready=2)
    assert next_replicas([a, b], {"a": 8, "b": 0}, 8) == {"a": 2, "b": 0}


def test_workers_that_a_lower_count_may_be_ending_are_not_counted_on() -> None:
    a, b = group("a", 1, committed=6, live=6, ready=6), group("b", 2, live=2, ready=2)
    assert next_replicas([a, b], {"a": 6, "b": 2}, 8) == {"a": 1, "b": 2}
    assert next_replicas([a, b], {"a": 6, "b": 2}, 11) == {"a": 4, "b": 2}


def test_nothing_is_asked_for_again_while_there_are_more_than_the_budget() -> None:
    """One of the two may be gone already, deleted by hand and replaced: to ask for two would make a third worker."""
    a, b = group("a", 1, live=2, ready=2), group("b", 0, committed=1, live=1, ready=1)
    assert next_replicas([a, b], {"a": 2}, 2) == {"a": 1, "b": 0}


def test_nothing_is_added_while_too_little_is_known() -> None:
    assert next_replicas([group("a", 1, live=1), group("b", 3)], {"a": 4, "b": 1}, 8, add=False) == {"a": 1, "b": 1}


def test_a_group_that_nobody_desires_ends() -> None:
    assert next_replicas([group("a", 3, live=3, ready=3)], {}, 8) == {"a": 0}


A = WorkerGroup("a", ("light",), replicas=2, created=2)


def seen(*groups: WorkerGroup, now_s: float = 100.0, workers: tuple[Worker, ...] = ()) -> Snapshot:
    return Snapshot(now_s, SPEC, NO_PROBLEM, NO_PROBLEM, workers, groups)


def test_workers_whose_group_is_gone_are_counted() -> None:
    orphan = Worker("w", "gone", ("light",), ready=True)
    memory = Memory(lowered={"a": Lowered(5)})
    a, gone = count_groups(seen(A, workers=(orphan,)), memory)
    assert (a.name, a.replicas, a.committed, a.live) == ("a", 2, 5, 2)
    assert (gone.name, gone.live, gone.ready, gone.stale) == ("gone", 1, 1, True)


def test_a_group_that_is_asked_for_less_is_remembered_with_the_most_that_it_was_asked_for() -> None:
    lowered = remember_lowered([A], {"a": 1}, {})
    assert lowered == {"a": Lowered(2)}
    assert remember_lowered([replace(A, replicas=1)], {"a": 0}, lowered) == {"a": Lowered(2)}
    assert remember_lowered([A], {"a": 3}, {}) == {}


def test_a_lower_count_is_believed_when_controllers_have_said_so_for_some_time() -> None:
    memory = Memory(lowered={"a": Lowered(5)})
    behind = replace(A, created=5)
    assert still_lowered(seen(behind), memory) == {"a": Lowered(5)}
    first = still_lowered(seen(A), memory)
    assert first == {"a": Lowered(5, followed_since_s=100.0)}
    memory = replace(memory, lowered=first)
    assert still_lowered(seen(A, now_s=100 + SETTLE_S), memory) == first
    assert still_lowered(seen(A, now_s=100.1 + SETTLE_S), memory) == {}
    # Not steadily: the time begins anew.
    assert still_lowered(seen(behind, now_s=100.5), memory) == {"a": Lowered(5)}


def test_who_is_lowered_step_by_step_is_believed_step_by_step() -> None:
    memory = Memory(lowered={"a": Lowered(5, followed_since_s=100.0)})
    lower = replace(A, replicas=1)  # its controllers have not even seen that
    lowered = remember_lowered([A], {"a": 1}, memory.lowered)
    assert lowered == {"a": Lowered(5, followed_since_s=100.0, again=2)}
    again = replace(memory, lowered=lowered)
    assert still_lowered(seen(lower, now_s=100 + SETTLE_S), again) == lowered
    assert still_lowered(seen(lower, now_s=100.1 + SETTLE_S), again) == {"a": Lowered(2)}
    assert remember_lowered([lower], {"a": 0}, lowered) == lowered, "until then the most that it was asked for since"
    # Those that had followed create more once again: they had not.
    assert still_lowered(seen(replace(lower, created=3), now_s=100.5), again) == {"a": Lowered(5)}
    # Before they followed at all, nothing has begun.
    assert remember_lowered([A], {"a": 1}, {"a": Lowered(5)}) == {"a": Lowered(5)}


def test_a_step_is_due_when_a_lower_count_is_believed() -> None:
    lowered = {"a": Lowered(5), "b": Lowered(3, followed_since_s=100.0), "c": Lowered(3, followed_since_s=50.0)}
    assert SETTLE_S - 0.4 < settles_in_s(lowered, 100.4) < SETTLE_S - 0.3
    memory = Memory(lowered={"b": lowered["b"]})
    assert still_lowered(seen(replace(A, name="b"), now_s=100.4 + settles_in_s(lowered, 100.4)), memory) == {}
    assert settles_in_s(lowered, 200.0) == settles_in_s({}, 0.0) == float("inf")


@pytest.mark.parametrize(
    ("groups", "since_s", "lowered", "may"),
    [
        ((), 0.0, {}, True),
        ((A,), 0.0, {}, False),
        ((A,), SETTLE_S + 0.1, {}, True),
        ((replace(A, observed=False),), 60.0, {}, False),
        ((replace(A, observed=False),), 60.0, {"a": Lowered(5)}, True),
        ((replace(A, created=3),), 60.0, {}, False),
        ((replace(A, observed=False, as_made=True),), 0.0, {}, True),
        ((replace(A, observed=False, as_made=True), replace(A, name="b")), 0.0, {}, False),
        ((replace(A, exists=False, created=0),), 0.0, {}, True),
    ],
)
def test_after_a_restart_nothing_is_added_before_every_controller_has_followed(
    groups: tuple[WorkerGroup, ...], since_s: float, lowered: dict[str, Lowered], may: bool
) -> None:
    memory = Memory(began_s=100.0 - since_s, lowered=lowered)
    assert may_add(seen(*groups), memory) is may
