"""The status: written when it says something new, from what was there, and changes of plan told once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fake_kube import FakeCluster, Request
from hadis.api.conditions import condition
from hadis.api.resources import Objective, ServiceSpec
from hadis.api.status import CHANGES_KEPT
from hadis.kube.client import ApiError
from hadis.planning.decide import Decision
from hadis.planning.memory import Memory
from hadis.planning.plan import Plan, TierPlan
from hadis.planning.profile import FIRST_SIZES
from hadis.planning.snapshot import Problem, Snapshot, Worker
from hadis_operator.observe import memory_of
from hadis_operator.status_writer import StatusWriter
from hadis_operator.views import ServiceView
from kube_objects import NAME, NAMESPACE, service_object
from prometheus_client import REGISTRY

PATH = f"/apis/hadis.dev/v1alpha1/namespaces/{NAMESPACE}/diffusionservices/{NAME}"
EVENTS = f"/api/v1/namespaces/{NAMESPACE}/events"
READY = condition("Ready", True, "Serving", "1 router, 1 worker")
LIGHT = Plan("light", "light", 0.0, 0.0, (TierPlan("light", 1, 1),), 1.0, 30.0, 0.1, 0.1, reason="enough", generation=1)
BOTH = Plan(
    "light", "heavy", 0.10625, 0.5, (TierPlan("light", 1, 1), TierPlan("heavy", 1, 4)), 1.0, 25.0, 0.1, 1.1,
    reason="best quality", generation=2,
)  # fmt: skip
SNAPSHOT = Snapshot(
    now_s=0.0,
    spec=ServiceSpec.read(service_object()["spec"]),
    profile=Problem("NotRead", ""),
    reading=Problem("NotRead", ""),
    workers=(Worker("w", "l1", ("light",), ready=True), Worker("v", "l1", ("light",))),
    groups=(),
)
DECIDED = Decision(
    memory=Memory(),
    conditions=(READY,),
    planned=True,
    plan=LIGHT,
    target=BOTH,
    forecast_rps=1.23456,
    workers_by_tier={"light": 2},
    ready_by_tier={"light": 1},
)


class Writing:
    """A StatusWriter on a cluster, with a clock that stands still."""

    def __init__(self, status: dict[str, Any] | None = None, generation: int = 1) -> None:
        self.now_s = 0.0
        self.cluster = FakeCluster()
        self.cluster.put(service_object(status=status, generation=generation))
        self.restart()

    def restart(self) -> None:
        cluster = self.cluster
        self.writer = StatusWriter(NAMESPACE, NAME, cluster.kube, cluster.cache, lambda: self.now_s)

    @property
    def service(self) -> ServiceView:
        service = self.cluster.cache.service(f"{NAMESPACE}/{NAME}")
        assert service is not None
        return service

    async def write(self, decision: Decision = DECIDED, snapshot: Snapshot = SNAPSHOT) -> list[Request]:
        """Write, and return the requests."""
        self.cluster.kube.requests.clear()
        await self.writer.write(self.service, snapshot, decision)
        return list(self.cluster.kube.requests)

    async def patch(self, decision: Decision = DECIDED) -> dict[str, Any]:
        """Write, and return the patch of the status."""
        (request,) = [r for r in await self.write(decision) if r.path.endswith("/status")]
        assert request.body is not None
        patch: dict[str, Any] = request.body["status"]
        return patch

    async def change_events(self, plan: Plan) -> list[str]:
        """Write a plan, and return the messages of the events."""
        requests = await self.write(replace(DECIDED, plan=plan))
        return [request.body["message"] for request in requests if request.path == EVENTS and request.body]


async def test_a_plan_is_written_unrounded_and_read_back() -> None:
    writing = Writing()
    await writing.write(replace(DECIDED, plan=BOTH))
    status = writing.service.status
    assert status.plan.active == BOTH
    assert status.plan.summary == "direct 11%, deferral 50%"
    assert (status.gpus, status.desired_by_tier, status.ready_by_tier) == ("1 / 2 / 4", {"light": 2}, {"light": 1})
    assert status.workers == 2
    assert status.selector == "hadis.dev/service=images,hadis.dev/component=worker,!hadis.dev/remote"
    assert (status.demand.forecast_rps, status.observed_generation) == (1.23, 1)


async def test_energy_and_money_are_told_where_they_are_known() -> None:
    writing = Writing()
    objective = Objective(latency="4s", gpu_price=0.8)
    priced = replace(SNAPSHOT, spec=SNAPSHOT.spec.model_copy(update={"objective": objective}))
    known = replace(LIGHT, joules_per_image=20.0, money_per_image=0.001)
    names = ("plan_image_joules", "plan_image_money", "money_per_hour")

    def gauges() -> list[float | None]:
        labels = {"namespace": NAMESPACE, "service": NAME}
        return [REGISTRY.get_sample_value(f"hadis_operator_{name}", labels) for name in names]

    await writing.write(replace(DECIDED, plan=known), priced)
    status = writing.service.status
    assert status.plan.active == known
    assert status.money_per_hour == 1.6  # of two GPUs, one of which is not ready yet
    assert gauges() == [20.0, 0.001, 1.6]
    writing.now_s = 60.0
    await writing.write()
    assert writing.service.status.money_per_hour is None
    assert gauges() == [None, None, None]


async def test_nothing_is_written_when_nothing_is_new() -> None:
    writing = Writing()
    assert await writing.write()
    assert await writing.write() == []
    assert await writing.patch(replace(DECIDED, ready_by_tier={"light": 2})) == {"readyByTier": {"light": 2}}


async def test_numbers_that_follow_the_load_are_written_now_and_then() -> None:
    writing = Writing()
    await writing.write()
    louder = replace(DECIDED, forecast_rps=2.0, plan=replace(LIGHT, demand_rps=1.9))
    assert await writing.write(louder) == []
    writing.now_s = 59.0
    assert await writing.write(louder) == []
    writing.now_s = 60.0
    assert set(await writing.patch(louder)) == {"demand", "plan"}
    writing.now_s = 100.0
    assert await writing.write(louder) == []


async def test_conditions_keep_their_time_while_their_status_stays() -> None:
    then = {"type": "Ready", "status": "True", "reason": "Old", "message": "", "lastTransitionTime": "then"}
    writing = Writing(status={"conditions": [then]}, generation=7)
    (ready,) = (await writing.patch())["conditions"]
    assert (ready["lastTransitionTime"], ready["reason"], ready["observedGeneration"]) == ("then", "Serving", 7)
    not_ready = condition("Ready", False, "NoWorker", "")
    (ready,) = (await writing.patch(replace(DECIDED, conditions=(not_ready,))))["conditions"]
    assert ready["lastTransitionTime"] != "then"


async def test_a_tier_that_went_is_taken_out_of_the_maps() -> None:
    writing = Writing(status={"desiredByTier": {"old": 1, "light": 2}, "readyByTier": {"old": 1}})
    patch = await writing.patch()
    assert patch["desiredByTier"] == {"old": None, "light": 2}
    assert patch["readyByTier"] == {"old": None, "light": 1}
    assert writing.service.status.desired_by_tier == {"light": 2}


async def test_ratios_of_batch_times_are_told_unrounded_and_those_that_went_are_taken_out() -> None:
    writing = Writing(status={"batchTimeRatios": {"old": {"1": 2.0}, "light": {"1": 1.5, "16": 2.0}}})
    await writing.write(replace(DECIDED, memory=Memory(ratios={"old": {1: 2.0}, "light": {1: 1.5, 16: 2.0}})))
    patch = await writing.patch(replace(DECIDED, memory=Memory(ratios={"light": {1: 1.23456, 4: 1.0}})))
    assert patch["batchTimeRatios"] == {"old": None, "light": {"1": 1.23456, "4": 1.0, "16": None}}
    assert writing.service.status.batch_time_ratios == {"light": {"1": 1.23456, "4": 1.0}}


async def test_where_nothing_was_planned_the_plan_stays() -> None:
    writing = Writing()
    await writing.write()
    missing = condition("ProfileValid", False, "ProfileNotFound", "")
    patch = await writing.patch(Decision(Memory(), (missing,)))
    assert set(patch) == {"conditions"}
    assert writing.service.status.plan.active == LIGHT


async def test_while_no_worker_is_ready_the_plan_and_the_target_stay() -> None:
    writing = Writing()
    await writing.write()
    assert set(await writing.patch(replace(DECIDED, plan=None, ready_by_tier={}))) == {"readyByTier"}
    # While the plan of before a restart is held, there is no target; the old one is still what it was for.
    await writing.write(replace(DECIDED, target=None, plan=BOTH))
    assert writing.service.status.plan.target == BOTH


async def test_conditions_alone_are_written_too() -> None:
    writing = Writing()
    await writing.writer.write_conditions(writing.service, (READY,))
    await writing.writer.write_conditions(writing.service, (READY,))
    assert len(writing.cluster.kube.requests) == 1


async def test_a_change_of_plan_is_told_once() -> None:
    writing = Writing()
    assert await writing.change_events(LIGHT) == ["light alone; enough"]
    assert await writing.change_events(LIGHT) == []
    writing.now_s = 60.0
    assert await writing.change_events(replace(LIGHT, quality=31.0, reason="another")) == []
    assert await writing.change_events(BOTH) == ["light + heavy, direct 11%, deferral 50%; best quality"]
    changes = writing.service.status.changes
    assert [change.summary for change in changes] == [LIGHT.headline, BOTH.headline]
    assert changes[1].reason == "best quality"


async def test_a_change_of_plan_is_told_a_minute_after_the_last_at_the_earliest() -> None:
    writing = Writing()
    await writing.change_events(LIGHT)
    writing.now_s = 59.9
    assert await writing.change_events(BOTH) == []
    writing.now_s = 60.0
    assert len(await writing.change_events(BOTH)) == 1


async def test_a_plan_that_was_told_before_a_restart_is_not_told_again() -> None:
    writing = Writing()
    await writing.change_events(LIGHT)
    writing.restart()
    assert await writing.change_events(LIGHT) == []
    writing.restart()
    assert len(await writing.change_events(BOTH)) == 1


async def test_only_the_last_changes_are_kept() -> None:
    writing = Writing()
    for number in range(CHANGES_KEPT + 2):
        writing.now_s += 60
        await writing.change_events((LIGHT, BOTH)[number % 2])
    assert len(writing.service.status.changes) == CHANGES_KEPT
    assert writing.service.status.changes[-1].summary == BOTH.headline


async def test_an_event_that_cannot_be_written_is_no_error() -> None:
    writing = Writing()
    writing.cluster.kube.refuse[EVENTS] = 403
    await writing.change_events(LIGHT)
    assert [change.summary for change in writing.service.status.changes] == [LIGHT.headline]


async def test_a_service_that_was_deleted_meanwhile_is_no_error_but_other_failures_are() -> None:
    writing = Writing()
    service = writing.service
    writing.cluster.kube.refuse[f"{PATH}/status"] = 500
    with pytest.raises(ApiError):
        await writing.writer.write_conditions(service, (READY,))
    del writing.cluster.kube.refuse[f"{PATH}/status"], writing.cluster.kube.objects[PATH]
    await writing.writer.write_conditions(service, (READY,))
    assert len(writing.cluster.kube.of("merge")) == 2


async def test_the_mix_of_sizes_is_written_read_after_a_restart_and_taken_back() -> None:
    writing, mix = Writing(), ((None, 0.6), ("64x32", 0.4))
    await writing.write()
    patch = await writing.patch(replace(DECIDED, memory=Memory(mix=mix)))
    assert patch["sizeShares"] == {"auto": 0.6, "64x32": 0.4}
    assert memory_of(writing.service).mix == mix
    assert (await writing.patch())["sizeShares"] == {"auto": None, "64x32": None}
    assert memory_of(writing.service).mix == FIRST_SIZES


async def test_shares_that_only_some_tiers_may_make_are_written_read_after_a_restart_and_taken_back() -> None:
    writing, restricted = Writing(), (("heavy", 0.3),)
    await writing.write()
    assert (await writing.patch(replace(DECIDED, memory=Memory(restricted=restricted))))["restrictedShares"] == {
        "heavy": 0.3
    }
    assert memory_of(writing.service).restricted == restricted
    assert (await writing.patch())["restrictedShares"] == {"heavy": None}
    assert memory_of(writing.service).restricted == ()


async def test_a_change_of_ready_is_told_once_it_is_written_and_not_again_after_a_restart() -> None:
    writing = Writing()
    not_ready = condition("Ready", False, "NoWorker", "no worker is ready yet")
    await writing.write(replace(DECIDED, plan=None, conditions=(not_ready,)))
    requests = await writing.write(replace(DECIDED, plan=None))
    assert [request.name for request in requests] == ["status", "events"]
    assert requests[1].body is not None
    assert (requests[1].body["type"], requests[1].body["message"]) == ("Normal", f"Ready: {READY.message}")
    writing.restart()
    assert await writing.write(replace(DECIDED, plan=None)) == []
    writing.cluster.kube.refuse[f"{PATH}/status"] = 500
    with pytest.raises(ApiError):
        await writing.write(replace(DECIDED, plan=None, conditions=(not_ready,)))
    assert [request.name for request in writing.cluster.kube.requests] == ["status"]
