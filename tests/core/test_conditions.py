"""Conditions: what they say of what was observed and planned, and since when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hadis.api.conditions import Condition, condition, with_times
from hadis.api.difficulty import NgramScore
from hadis.api.resources import ServiceSpec
from hadis.planning.conditions import (
    DesiredState,
    nodes_have_room,
    profile_condition,
    service_conditions,
    slow_worker,
    unplanned_conditions,
    worker_problem,
)
from hadis.planning.plan import Plan, TierPlan
from hadis.planning.profile import Profile
from hadis.planning.snapshot import DemandReading, Problem, Snapshot, Worker, WorkerGroup
from hadis.planning.speeds import Ratios

NOW_S, LATE_S = 1000.0, 60.0
READY = Worker("w", "l1", ("light",), ready=True, url="http://w")
WAITING = Worker("p", "l1", ("light",), unschedulable=Problem("Unschedulable", "no node"), unschedulable_since_s=880.0)
GATED = Worker("g", "l1", ("light",), unschedulable=Problem("WaitingForQuota", "gates"), unschedulable_since_s=880.0)
BROKEN = Worker("a", "l1", ("light",), failure=Problem("ImagePullBackOff", "no such image"))
LEAVING = Worker("q", "l1", ("light",), terminating=True)
GROUP = WorkerGroup("l1", ("light",), replicas=1, created=1)
REFUSED = replace(GROUP, refused=Problem("QuotaExceeded", "exceeded quota"))
PLAN = Plan("light", "light", 0.0, 0.0, (TierPlan("light", 1, 1),), 1.0, 30.0, 0.1, 0.1, reason="enough")
BAD_PLAN = replace(PLAN, feasible=False, reason="too few GPUs")
UNREAD = Problem("NoData", "none")
SLOW = DemandReading(NOW_S, {"router": 1.0}, worker_ratios={"http://w": 1.5})


def desired(
    active: Plan | None, target: Plan | None, count: int, ratios: Ratios | None = None, *, informed: bool = True
) -> DesiredState:
    """Return what was planned where group l1 is to have so many workers."""
    return DesiredState(active, target, {"l1": count}, informed, ratios or {})


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    before = with_times([condition("Ready", True, "A", "a"), condition("Degraded", False, "B", "b")], [], 1, "then")
    after = with_times([condition("Ready", True, "C", "c"), condition("Degraded", True, "D", "d")], before, 2, "now")
    assert [c.last_transition_time for c in after] == ["then", "now"]
    assert after[0].reason == "C"
    assert after[0].observed_generation == 2


def test_the_first_worker_by_name_that_cannot_become_ready_is_told() -> None:
    assert worker_problem([WAITING, BROKEN], NOW_S, LATE_S) == BROKEN.failure
    assert worker_problem([WAITING], NOW_S, LATE_S) == WAITING.unschedulable
    assert worker_problem([Worker("p", "l1", ("light",))], NOW_S, LATE_S) is None


@pytest.mark.parametrize(
    ("started_s", "terminating", "late"),
    [(None, False, False), (950.0, False, False), (939.0, False, True), (939.0, True, False)],
)
def test_a_worker_that_has_run_for_long_without_being_ready_is_late(
    started_s: float | None, terminating: bool, late: bool
) -> None:
    worker = Worker("p", "l1", ("light",), started_s=started_s, terminating=terminating)
    problem = worker_problem([worker], NOW_S, LATE_S)
    assert (problem is not None and problem.reason == "NotReady") is late


@pytest.mark.parametrize("worker", [WAITING, GATED, BROKEN])
def test_what_was_wrong_with_a_worker_that_terminates_is_told_no_more(profile: Profile, worker: Worker) -> None:
    leaving = replace(worker, terminating=True)
    assert worker_problem([leaving], NOW_S, LATE_S) is None
    found = conditions(profile, desired(PLAN, PLAN, 1), workers=(READY, leaving))
    assert (found["Degraded"].status, found["CapacitySufficient"].status) == ("False", "True")


def test_a_worker_that_no_node_takes_for_long_and_a_quota_mean_no_room() -> None:
    assert nodes_have_room([WAITING], [], NOW_S, 180)
    assert not nodes_have_room([WAITING], [], NOW_S, 60)
    assert not nodes_have_room([], [REFUSED], NOW_S, 60)
    assert nodes_have_room([READY], [replace(REFUSED, refused=None)], NOW_S, 60)


def test_a_profile_is_valid_or_says_why_not(profile: Profile) -> None:
    assert profile_condition(profile).status == "True"
    newer = NgramScore.of(1.0, {}, 0.0, (0.0, 1.0)).model_copy(update={"version": "sha-9"})
    spec = profile.resource.spec
    scored = spec.model_copy(update={"difficulty": spec.difficulty.model_copy(update={"ngrams": newer})})
    other = profile_condition(Profile(profile.resource.model_copy(update={"spec": scored})))
    assert other.status == "True"
    assert "version 'sha-9' is not known" in other.message
    missing = profile_condition(Problem("ProfileNotFound", "there is none"))
    assert (missing.status, missing.reason, missing.message) == ("False", "ProfileNotFound", "there is none")


def snapshot(profile: Profile, mode: str = "Auto", **changes: Any) -> Snapshot:
    """Return a service with one ready worker, `changes` aside."""
    spec = ServiceSpec.read({"profile": "two", "objective": {"latency": "4s"}, "gpus": {"max": 4}, "mode": mode})
    reading = DemandReading(NOW_S, {"router": 1.0}, ratios={"light": {1: 1.0}}, source="read from 1 of 1 routers")
    plain = Snapshot(NOW_S, spec, profile, reading, (READY,), (GROUP,))
    return replace(plain, **changes)


def conditions(profile: Profile, planned: DesiredState, mode: str = "Auto", **changes: Any) -> dict[str, Condition]:
    """Return the conditions, by type, of such a service."""
    return {c.type: c for c in service_conditions(snapshot(profile, mode, **changes), planned)}


def test_all_is_well(profile: Profile) -> None:
    actual = conditions(profile, desired(PLAN, PLAN, 1))
    assert {kind: c.status for kind, c in actual.items()} == {
        "MetricsAvailable": "True",
        "CapacitySufficient": "True",
        "PlanApplied": "True",
        "Degraded": "False",
        "ProfileFresh": "True",
        "Ready": "True",
    }
    assert actual["Ready"].message == "1 router, 1 worker"


@pytest.mark.parametrize(
    ("planned", "changes", "kind", "status", "reason"),
    [
        (desired(PLAN, PLAN, 1), {"reading": Problem("NoData", "none")}, "MetricsAvailable", "False", "NoData"),
        (desired(PLAN, BAD_PLAN, 1), {}, "CapacitySufficient", "False", "TooFewGpus"),
        (desired(PLAN, None, 1), {}, "CapacitySufficient", "Unknown", "DemandUnknown"),
        (desired(PLAN, PLAN, 1, informed=False), {}, "CapacitySufficient", "Unknown", "DemandUnknown"),
        (desired(PLAN, PLAN, 1), {"reading": UNREAD}, "CapacitySufficient", "Unknown", "DemandUnknown"),
        (desired(PLAN, BAD_PLAN, 1, informed=False), {"reading": UNREAD}, "CapacitySufficient", "False", "TooFewGpus"),
        (desired(PLAN, PLAN, 3), {"workers": (READY, BROKEN, WAITING)}, "CapacitySufficient", "False", "Unschedulable"),
        (desired(PLAN, PLAN, 2), {"workers": (BROKEN, GATED)}, "CapacitySufficient", "False", "WaitingForQuota"),
        (desired(PLAN, PLAN, 2), {"workers": (GATED, WAITING)}, "CapacitySufficient", "False", "Unschedulable"),
        (desired(PLAN, PLAN, 2), {"workers": (BROKEN, WAITING)}, "Degraded", "True", "ImagePullBackOff"),
        (desired(PLAN, PLAN, 2), {"workers": (READY, WAITING)}, "CapacitySufficient", "False", "Unschedulable"),
        (desired(PLAN, PLAN, 2), {"workers": (READY, WAITING)}, "PlanApplied", "False", "Unschedulable"),
        (desired(PLAN, PLAN, 2), {"workers": (READY, GATED)}, "CapacitySufficient", "False", "WaitingForQuota"),
        (desired(PLAN, PLAN, 2), {"workers": (READY, GATED)}, "Degraded", "False", "AsPlanned"),
        (desired(PLAN, PLAN, 2), {"workers": (GATED,)}, "Ready", "False", "WaitingForQuota"),
        (desired(PLAN, PLAN, 2), {"workers": (GATED, WAITING)}, "Degraded", "True", "Unschedulable"),
        (desired(PLAN, PLAN, 2), {"groups": (REFUSED,)}, "PlanApplied", "False", "QuotaExceeded"),
        (desired(PLAN, PLAN, 2), {}, "PlanApplied", "False", "Scaling"),
        (desired(PLAN, PLAN, 1), {"workers": (READY, LEAVING)}, "PlanApplied", "False", "Scaling"),
        (desired(PLAN, PLAN, 1), {"mode": "Advisory"}, "PlanApplied", "False", "Advisory"),
        (desired(PLAN, PLAN, 2), {"workers": (READY, WAITING)}, "Degraded", "True", "Unschedulable"),
        (desired(BAD_PLAN, PLAN, 1), {}, "Degraded", "True", "PlanInfeasible"),
        (desired(PLAN, PLAN, 1), {"reading": SLOW}, "Degraded", "True", "SlowWorker"),
        (desired(BAD_PLAN, PLAN, 1), {"reading": SLOW}, "Degraded", "True", "SlowWorker"),
        (desired(PLAN, PLAN, 1), {"reading": SLOW}, "CapacitySufficient", "True", "Sufficient"),
        (desired(PLAN, PLAN, 2), {"reading": SLOW}, "PlanApplied", "False", "Scaling"),
        (
            desired(PLAN, PLAN, 2),
            {"reading": SLOW, "workers": (READY, WAITING)},
            "Degraded",
            "True",
            "Unschedulable",
        ),
        (desired(PLAN, PLAN, 1), {"reading": SLOW}, "ProfileFresh", "Unknown", "NotTimed"),
        (desired(PLAN, PLAN, 1), {"reading": UNREAD}, "ProfileFresh", "Unknown", "NotTimed"),
        (desired(PLAN, PLAN, 1, {"light": {1: 1.25}}), {"reading": UNREAD}, "ProfileFresh", "True", "AsMeasured"),
        (desired(PLAN, PLAN, 1, {"light": {1: 1.25}}), {}, "ProfileFresh", "True", "AsMeasured"),
        (desired(PLAN, PLAN, 1, {"light": {1: 1.26}}), {}, "ProfileFresh", "False", "Stale"),
        (desired(PLAN, PLAN, 1, {"light": {1: 0.79}}), {}, "ProfileFresh", "False", "Stale"),
        (
            # Told is what is planned with, not what was learnt since.
            desired(PLAN, PLAN, 1, {"light": {1: 1.0}}),
            {"reading": replace(SLOW, ratios={"light": {1: 2.0}})},
            "ProfileFresh",
            "True",
            "AsMeasured",
        ),
        (desired(PLAN, PLAN, 1), {"routers": 0}, "Ready", "False", "NoRouter"),
        (desired(PLAN, PLAN, 1), {"workers": (replace(READY, tiers=()),)}, "Ready", "False", "NoWorker"),
        (desired(None, PLAN, 1), {"workers": ()}, "Ready", "False", "NoWorker"),
        (desired(None, PLAN, 1), {"workers": (WAITING,)}, "Ready", "False", "Unschedulable"),
    ],
)
def test_what_is_not_well_is_told_by_its_condition(
    profile: Profile, planned: DesiredState, changes: dict[str, Any], kind: str, status: str, reason: str
) -> None:
    actual = conditions(profile, planned, **changes)[kind]
    assert (actual.status, actual.reason) == (status, reason)


def lights(ready: int, of: int, **changes: Any) -> tuple[WorkerGroup, tuple[Worker, ...]]:
    """Return group l1 with `of` workers; `changes` are of the group."""
    workers = tuple(replace(READY, name=f"l{i}", ready=i < ready) for i in range(of))
    return replace(GROUP, **({"replicas": of, "created": of} | changes)), workers


HEAVY = WorkerGroup("h1", ("heavy",), replicas=1, created=1), (Worker("h", "h1", ("heavy",), ready=True),)
NO_HEAVY = WorkerGroup("h1", ("heavy",), exists=False), ()
QUOTA = replace(NO_HEAVY[0], refused=Problem("QuotaExceeded", "exceeded quota")), ()
FORMER = WorkerGroup("o", ("light",), replicas=1, created=1, stale=True), (replace(READY, name="o", group="o"),)
ORPHAN = (), (replace(READY, name="o", group="o"),)
LIGHTS_ONLY = "light: 1 desired, 4 ready, 4 exist or are asked for; heavy: 3 desired, 0 ready, 0 exist or are asked for"


@pytest.mark.parametrize(
    ("light", "heavy", "fleets", "reason", "message"),
    [
        (2, 1, (lights(2, 2), HEAVY), "Applied", "3 ready workers"),
        (0, 0, (lights(0, 0), NO_HEAVY), "Applied", "0 ready workers"),
        (1, 3, (lights(4, 4), NO_HEAVY), "Scaling", LIGHTS_ONLY),
        (1, 1, (lights(2, 2), NO_HEAVY), "Scaling", None),
        (1, 0, (lights(0, 0), HEAVY), "Scaling", None),
        (2, 1, (lights(1, 2), HEAVY), "Scaling", None),
        (1, 1, (lights(1, 1, replicas=2), HEAVY), "Scaling", None),
        (1, 1, (lights(1, 1, created=2), HEAVY), "Scaling", None),
        (1, 1, (lights(1, 1, observed=False), HEAVY), "Scaling", None),
        (1, 0, (lights(0, 0), NO_HEAVY, FORMER), "Scaling", None),
        (0, 0, (lights(0, 0), NO_HEAVY, FORMER), "Scaling", "1 of former templates exist or are asked for"),
        (0, 0, (lights(0, 0), NO_HEAVY, (FORMER[0], ())), "Scaling", None),
        (0, 0, (lights(0, 0), NO_HEAVY, (replace(FORMER[0], replicas=0, created=0), ())), "Applied", None),
        (0, 1, (lights(0, 0), QUOTA, FORMER), "QuotaExceeded", None),
        (1, 1, (lights(1, 1), HEAVY, ORPHAN), "Scaling", None),
    ],
)  # fmt: skip
def test_a_plan_is_applied_where_each_group_is_as_desired_and_none_is_of_a_former_template(
    profile: Profile, light: int, heavy: int, fleets: Any, reason: str, message: str | None
) -> None:
    groups = tuple(group for group, _ in fleets if group)
    workers = tuple(worker for _, each in fleets for worker in each)
    planned = DesiredState(PLAN, PLAN, {"l1": light, "h1": heavy}, informed=True)
    actual = conditions(profile, planned, groups=groups, workers=workers)["PlanApplied"]
    assert (actual.status, actual.reason) == ("True" if reason == "Applied" else "False", reason)
    assert message in (None, actual.message)


@pytest.mark.parametrize(
    ("target", "informed", "words"),
    [(PLAN, True, "the last plan is held"), (None, False, "last plan is held"), (PLAN, False, "plans are for none")],
)
def test_what_is_planned_with_where_nothing_is_read_is_told(
    profile: Profile, target: Plan | None, informed: bool, words: str
) -> None:
    planned = desired(PLAN, target, 1, informed=informed)
    assert words in conditions(profile, planned, reading=UNREAD)["MetricsAvailable"].message


TAKEN, REFUSED_CHILD = Problem("NameTaken", "Service images"), Problem("ChildRefused", "Deployment images")
CONTESTED, OF_ROUTERS = Problem("Contested", "Role images"), Problem("PodsRefused", "images-router")


@pytest.mark.parametrize(
    ("changes", "degraded", "ready", "applied"),
    [
        ({"child_problem": TAKEN}, "NameTaken", "Serving", "Applied"),
        ({"child_problem": TAKEN, "workers": ()}, "NameTaken", "NameTaken", "NameTaken"),
        ({"child_problem": REFUSED_CHILD, "router_problem": OF_ROUTERS}, "ChildRefused", "Serving", "Applied"),
        ({"child_problem": REFUSED_CHILD, "routers": 0}, "ChildRefused", "ChildRefused", "Applied"),
        ({"router_problem": OF_ROUTERS}, "PodsRefused", "Serving", "Applied"),
        ({"router_problem": OF_ROUTERS, "routers": 0}, "PodsRefused", "PodsRefused", "Applied"),
        ({"router_problem": OF_ROUTERS, "workers": ()}, "PodsRefused", "NoWorker", "Scaling"),
        ({"router_problem": OF_ROUTERS, "groups": (REFUSED,)}, "PodsRefused", "Serving", "Applied"),
        ({"child_problem": CONTESTED}, "Contested", "Serving", "Applied"),
        ({"child_problem": CONTESTED, "groups": (REFUSED,)}, "QuotaExceeded", "Serving", "Applied"),
        ({"child_problem": CONTESTED, "reading": SLOW}, "Contested", "Serving", "Applied"),
        ({"child_problem": CONTESTED, "workers": ()}, "Contested", "NoWorker", "Scaling"),
    ],
)  # fmt: skip
def test_of_several_problems_the_gravest_is_told(
    profile: Profile, changes: dict[str, Any], degraded: str, ready: str, applied: str
) -> None:
    actual = conditions(profile, desired(PLAN, PLAN, 1), **changes)
    assert [actual[kind].reason for kind in ("Degraded", "Ready", "PlanApplied")] == [degraded, ready, applied]


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize(
    ("changes", "ready"),
    [({}, "Serving"), ({"workers": (WAITING,)}, "Unschedulable"), ({"routers": 0}, "NoRouter")],
)
def test_who_answers_is_told_also_where_nothing_is_planned(
    profile: Profile, changes: dict[str, Any], ready: str, wrong: bool
) -> None:
    planned = conditions(profile, desired(PLAN, PLAN, 1), **changes)
    why = Problem("Why", "because")
    serving = snapshot(profile, **changes).serving
    actual = {c.type: c for c in unplanned_conditions(serving, why, wrong=wrong)}
    assert actual.keys() == planned.keys()
    assert actual["Ready"].status == planned["Ready"].status
    assert actual["Ready"].reason == (ready if ready == "Serving" or not wrong else "Why")
    pods = "Unschedulable" if ready == "Unschedulable" else "Why" if wrong else "AsPlanned"
    assert actual["Degraded"].reason == pods
    others = actual.keys() - {"Ready", "Degraded"}
    assert {(actual[kind].status, actual[kind].reason) for kind in others} == {("Unknown", "Why")}


@pytest.mark.parametrize(
    ("changes", "quality", "reason"),
    [
        ({"objective": {"latency": "4s", "optimize": "Cost", "quality": 29.0}}, 30.0, "QualityNotReached"),
        ({"objective": {"latency": "4s", "optimize": "Cost", "quality": 30.0}}, 30.0, "Sufficient"),
        ({"objective": {"latency": "4s", "quality": 29.0}}, 30.0, "Sufficient"),
        ({"gpus": {"max": 1}, "placement": "Dedicated"}, 30.0, "OneTierAlone"),
        ({"gpus": {"max": 2}, "placement": "Dedicated"}, 30.0, "Sufficient"),
        ({"gpus": {"max": 1}, "placement": "Shared"}, 30.0, "Sufficient"),
        ({"gpus": {"max": 1}}, 30.0, "Sufficient"),
    ],
)
def test_what_no_demand_could_be_served_with_is_told(
    profile: Profile, changes: dict[str, Any], quality: float, reason: str
) -> None:
    spec = ServiceSpec.read({"profile": "two", "objective": {"latency": "4s"}, "gpus": {"max": 4}, **changes})
    target = replace(PLAN, quality=quality)
    actual = conditions(profile, desired(PLAN, target, 1), spec=spec)["CapacitySufficient"]
    assert actual.reason == reason


def test_a_stale_profile_says_which_tiers_and_by_how_much(profile: Profile) -> None:
    ratios = {"light": {1: 1.1, 4: 0.5}, "heavy": {1: 1.2}, "idle": {}, "other": {1: 1.0, 4: 2.0}}
    message = conditions(profile, desired(PLAN, PLAN, 1, ratios))["ProfileFresh"].message
    assert "as long as the profile says: light 0.5, other 2;" in message


@pytest.mark.parametrize(
    ("ratios", "named"),
    [
        ({}, None),
        ({"http://w": 1.49, "http://v": 1.0}, None),
        ({"http://w": 1.5}, "worker w takes 1.5 times"),
        ({"http://w": 2.0, "http://v": 3.0}, "worker v takes 3.0, worker w takes 2.0 times as long as their peers"),
        ({"http://w": 2.0, "http://v": 1.0, "http://starting": 9.0}, "worker w takes 2.0 times"),
        ({"w": 9.0}, None),
    ],
)
def test_the_slow_ones_of_the_ready_workers_are_named(
    profile: Profile, ratios: dict[str, float], named: str | None
) -> None:
    workers = READY, replace(READY, name="v", url="http://v"), Worker("s", "l1", ("light",), url="http://starting")
    problem = slow_worker(snapshot(profile, workers=workers, reading=replace(SLOW, worker_ratios=ratios)))
    assert (problem.message if problem else "").startswith(named or "")
    assert (problem is None) is (named is None)


def test_without_a_reading_no_worker_is_slow(profile: Profile) -> None:
    assert slow_worker(snapshot(profile, reading=Problem("NoData", "none"))) is None
    assert slow_worker(snapshot(profile, workers=())) is None
