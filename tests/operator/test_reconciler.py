"""One service reconciled from its objects to its writes, against a fake API server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import AsyncMock

import pytest
from documents import plan_document
from fake_http import FakeHttp
from fake_kube import FakeCluster
from hadis.api.conditions import Condition
from hadis.api.resources import ServiceSpec
from hadis.api.status import ServiceStatus
from hadis.kube.client import ApiError
from hadis.planning.plan import Plan, TierPlan
from hadis.planning.snapshot import DemandReading, Quiet
from hadis.protocol.labels import POOL, REVISION
from hadis_operator.gpu_pools import GpuPools
from hadis_operator.reconciler import Reconciler
from hadis_operator.settings import OperatorSettings
from hadis_operator.views import ServiceView
from kube_objects import (
    NAME,
    NAMESPACE,
    child_object,
    deployment_object,
    pod_object,
    profile_object,
    service_object,
)
from virtual import virtual

KEY = f"{NAMESPACE}/{NAME}"
PROMETHEUS = "http://prometheus:9090"
METRICS: dict[str, Any] = {"metrics": {"prometheus": {"address": PROMETHEUS}}}
PLAN = Plan(
    "light", "heavy", 0.10625, 0.5, (TierPlan("light", 2, 1), TierPlan("heavy", 2, 4)), 1.0, 25.0, 0.1, 1.1,
    reason="best quality", generation=5,
)  # fmt: skip
EVERY_S = 2.0
"""planEvery where a service says nothing else."""
BEFORE = {"plan": {"active": plan_document(PLAN)}, "desiredByTier": {"light": 2, "heavy": 2}}


class Operator:
    """A Reconciler on a cluster with a service, its profile, and a router that is ready."""

    def __init__(self, service: dict[str, Any], *, profile: bool = True) -> None:
        self.cluster, self.http = FakeCluster(), FakeHttp()
        self.cluster.put(service, pod_object("r", component="router", ready=True, address="10.0.1.1"))
        if profile:
            self.cluster.put(profile_object())
        self.arrivals = 0.0
        self.age_s = 0.0
        self.sampled_s: Callable[[], float] = lambda: time.time() + asyncio.get_running_loop().time()
        self.restart()

    def restart(self) -> None:
        """Begin anew, with what the cluster says."""
        cluster = self.cluster
        pools = GpuPools(cluster.cache, lambda service: None)
        self.reconciler = Reconciler(KEY, OperatorSettings(), cluster.kube, self.http.session, cluster.cache, pools)

    async def reconcile(self) -> list[tuple[str, str]]:
        """Reconcile; return the verbs and names of what was written, the status aside."""
        self.cluster.kube.requests.clear()
        await self.reconciler.reconcile()
        return [(r.verb, r.name) for r in self.cluster.kube.requests if r.name not in ("status", "events")]

    @property
    def service(self) -> ServiceView:
        service = self.cluster.cache.service(KEY)
        assert service is not None
        return service

    @property
    def status(self) -> ServiceStatus:
        return self.service.status

    def condition(self, kind: str) -> Condition:
        return next(c for c in self.status.conditions if c.type == kind)

    @property
    def replicas(self) -> dict[str, int]:
        """Replicas of the worker Deployments by pool."""
        replicas = {}
        for path, item in self.cluster.kube.objects.items():
            if "/deployments/" in path and REVISION in item["metadata"]["labels"]:
                replicas[item["metadata"]["labels"][POOL]] = item["spec"]["replicas"]
        return replicas

    def follow(self) -> None:
        """Let the Deployments' controllers do what they are asked for; every worker is ready."""
        for item in list(self.cluster.kube.objects.values()):
            labels = item["metadata"].get("labels", {})
            if item.get("kind") != "Deployment" or REVISION not in labels:
                continue
            count = item["spec"]["replicas"]
            status = {"replicas": count, "observedGeneration": item["metadata"]["generation"]}
            self.cluster.put(item | {"status": status})
            for i in range(count):
                pod = {"pool": labels[POOL], "revision": labels[REVISION], "ready": True}
                self.cluster.put(pod_object(f"{labels[POOL]}-{i}", **pod))

    def prometheus(self) -> None:
        """Have a Prometheus that tells `arrivals`."""

        def answer(params: Mapping[str, str]) -> str:
            value = self.sampled_s() if params["query"].startswith("timestamp(") else self.arrivals
            result = [{"metric": {"pod": "r"}, "value": [self.sampled_s() + self.age_s, str(value)]}]
            return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})

        self.http.answers[f"{PROMETHEUS}/api/v1/query"] = answer


async def test_a_new_service_gets_its_children_and_then_its_plan() -> None:
    operator = Operator(service_object())
    written = await operator.reconcile()
    assert {verb for verb, name in written if name != "secrets"} == {"apply"}
    assert sum(operator.replicas.values()) > 0
    assert operator.status.plan.active is None
    assert operator.condition("Ready").reason == "NoWorker"
    operator.follow()
    await operator.reconcile()
    assert operator.status.plan.active is not None
    assert operator.condition("Ready").status == "True"
    assert operator.condition("PlanApplied").status == "True"
    assert await operator.reconcile() == []


async def test_a_spec_that_cannot_be_read_is_told_and_nothing_else_is_done() -> None:
    operator = Operator(service_object(gpus={"max": -1}, status=BEFORE))
    assert await operator.reconcile() == []
    ready = operator.condition("Ready")
    assert (ready.status, ready.reason) == ("False", "InvalidSpec")
    assert "gpus.max" in ready.message
    assert operator.status.plan.active == PLAN


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"gpus": {"max": -1}}, "InvalidSpec"),
        ({"mode": "Paused"}, "AsPlanned"),
        ({"profile": "none"}, "ProfileNotFound"),
    ],
)
async def test_ready_says_who_answers_whatever_else_is_wrong(wrong: dict[str, Any], reason: str) -> None:
    then = {"type": "Ready", "status": "True", "reason": "Serving", "message": "", "lastTransitionTime": "then"}
    operator = Operator(service_object(status={"conditions": [then]}, **wrong))
    operator.cluster.put(pod_object("p", ready=True))
    await operator.reconcile()
    ready = operator.condition("Ready")
    assert (ready.status, ready.reason, ready.last_transition_time) == ("True", "Serving", "then")
    assert operator.condition("Degraded").reason == reason
    assert len(operator.status.conditions) == 7


@virtual
async def test_a_child_that_is_refused_is_told_in_the_next_step_and_plans_go_on() -> None:
    operator = Operator(service_object())
    path = f"/api/v1/namespaces/{NAMESPACE}/services/{NAME}"
    operator.cluster.kube.refuse[path] = 422
    assert await operator.reconciler.reconcile() == 0.0
    operator.follow()
    assert await operator.reconciler.reconcile() > 0.0
    degraded = operator.condition("Degraded")
    assert (degraded.status, degraded.reason, degraded.message) == ("True", "ChildRefused", "Service images: refused")
    assert operator.status.plan.active is not None
    warnings = [r.body for r in operator.cluster.kube.requests if r.name == "events" and r.body]
    reasons = [(w["type"], w["reason"]) for w in warnings if w["type"] == "Warning"]
    assert reasons == [("Warning", "NoWorker"), ("Warning", "ChildRefused")]
    del operator.cluster.kube.refuse[path]
    await asyncio.sleep(1)
    assert ("apply", NAME) in await operator.reconcile()
    await operator.reconcile()
    assert operator.condition("Degraded").status == "False"


async def test_routers_follow_the_plan_also_where_the_api_server_takes_no_child() -> None:
    operator = Operator(service_object())
    await operator.reconcile()
    operator.follow()
    operator.cluster.put(service_object(generation=2, router={"replicas": 3}))
    operator.cluster.kube.refuse[f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/images-router"] = 503
    with pytest.raises(ApiError):
        await operator.reconcile()
    assert operator.status.plan.active is not None


async def test_routers_that_may_not_be_made_are_told() -> None:
    operator = Operator(service_object())
    await operator.reconcile()
    operator.cluster.take("Pod", "r")
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/images-router"
    refused = {"type": "ReplicaFailure", "status": "True", "message": "maximum memory usage per Container is 1Mi"}
    operator.cluster.put(operator.cluster.kube.objects[path] | {"status": {"conditions": [refused]}})
    await operator.reconcile()
    for kind in ("Degraded", "Ready"):
        assert operator.condition(kind).reason == "PodsRefused"
        assert operator.condition(kind).message == "images-router: maximum memory usage per Container is 1Mi"


async def test_without_a_profile_what_runs_is_left() -> None:
    operator = Operator(service_object(status=BEFORE), profile=False)
    operator.cluster.put(deployment_object("l1", replicas=2), pod_object("p", ready=True))
    assert await operator.reconcile() == []
    valid = operator.condition("ProfileValid")
    assert (valid.status, valid.reason) == ("False", "ProfileNotFound")
    assert (operator.status.plan.active, operator.status.desired_by_tier) == (PLAN, {"light": 2, "heavy": 2})


async def test_with_an_alias_of_no_tier_what_runs_is_left() -> None:
    operator = Operator(service_object(status=BEFORE, api={"modelAliases": {"dall-e-3": "none"}}))
    operator.cluster.put(deployment_object("l1", replicas=2), pod_object("p", ready=True))
    assert await operator.reconcile() == []
    valid = operator.condition("ProfileValid")
    assert (valid.status, valid.reason) == ("False", "UnknownTier")
    assert operator.status.plan.active == PLAN


async def test_a_paused_service_is_left_as_it_is_and_nobody_is_asked() -> None:
    operator = Operator(service_object(mode="Paused", status=BEFORE, **METRICS))
    operator.cluster.put(deployment_object("l1", replicas=2))
    assert await operator.reconcile() == []
    assert operator.http.requested == []
    applied = operator.condition("PlanApplied")
    assert (applied.status, applied.reason) == ("Unknown", "Paused")
    assert operator.status.plan.active == PLAN


async def test_advice_is_written_into_the_status_and_nowhere_else() -> None:
    operator = Operator(service_object(mode="Advisory"))
    operator.cluster.put(pod_object("p", ready=True))
    assert await operator.reconcile() == []
    assert operator.condition("PlanApplied").reason == "Advisory"
    assert operator.status.plan.active is not None
    assert operator.status.plan.target is not None
    assert sum(operator.status.desired_by_tier.values()) > 0


async def test_after_a_restart_plan_and_workers_of_the_status_are_held_until_demand_is_known() -> None:
    operator = Operator(service_object(status=BEFORE, **METRICS))
    operator.prometheus()
    await operator.reconcile()
    assert operator.replicas == {"light": 2, "heavy": 2}
    operator.follow()
    operator.restart()
    assert await operator.reconcile() == []
    assert operator.status.plan.active == PLAN
    assert operator.status.desired_by_tier == {"light": 2, "heavy": 2}
    assert operator.status.gpus == "4 / 4 / 4"


@virtual
async def test_a_prometheus_that_does_not_answer_is_told_and_nothing_is_lost() -> None:
    operator = Operator(service_object(status=BEFORE, **METRICS))
    await operator.reconcile()
    operator.follow()
    operator.prometheus()
    await operator.reconcile()
    assert operator.condition("MetricsAvailable").status == "True"
    operator.http.answers.clear()
    for _ in range(3):
        await asyncio.sleep(EVERY_S)
        assert await operator.reconcile() == []
    metrics = operator.condition("MetricsAvailable")
    assert (metrics.status, metrics.reason) == ("False", "Unreachable")
    assert operator.replicas == {"light": 2, "heavy": 2}
    assert operator.status.plan.active == PLAN
    assert operator.condition("Ready").status == "True"


async def test_without_a_prometheus_the_ready_routers_are_asked() -> None:
    operator = Operator(service_object())
    operator.cluster.put(pod_object("s", component="router", address="10.0.1.2"))
    await operator.reconcile()
    assert operator.http.requested == ["http://10.0.1.1:8080/metrics"]


SLOW_ROUTER = (
    'hadis_router_arrivals_total{size="auto"} 7.0\nhadis_router_queued_seconds{tier="heavy"} 2.0\n'
    'hadis_router_batch_time_ratio{tier="heavy",batch="4"} 2.0\n'
    'hadis_router_worker_time_ratio{worker="http://10.0.0.1:8100"} 3.0\n'
)


async def test_beside_prometheus_routers_tell_what_waits_and_how_long_batches_take() -> None:
    operator = Operator(service_object(**METRICS))
    operator.prometheus()
    operator.arrivals, now_s = 100.0, time.time()
    operator.sampled_s, operator.age_s = (lambda: now_s - 20.0), 20.0
    operator.cluster.put(pod_object("s", component="router", address="10.0.1.2"))
    operator.http.answers["http://10.0.1.1:8080/metrics"] = SLOW_ROUTER
    spec = operator.service.spec
    assert isinstance(spec, ServiceSpec)
    reading = await operator.reconciler._read_demand(spec)
    assert isinstance(reading, DemandReading)
    assert reading.at_s == pytest.approx(now_s - 20.0, abs=5)
    assert reading == DemandReading(
        reading.at_s,
        {"[('pod', 'r')]": 100.0},
        {"heavy": 2.0},
        {"heavy": {4: 2.0}},
        {"http://10.0.0.1:8100": 3.0},
        f"1 series from {PROMETHEUS}",
        quiet=Quiet(0.0),
    )
    assert "http://10.0.1.2:8080/metrics" not in operator.http.requested  # it is not ready


async def test_what_routers_learn_is_told_and_outlives_a_restart() -> None:
    operator = Operator(service_object(**METRICS))
    operator.prometheus()
    operator.http.answers["http://10.0.1.1:8080/metrics"] = SLOW_ROUTER
    await operator.reconcile()
    operator.follow()
    await operator.reconcile()
    assert operator.status.batch_time_ratios == {"heavy": {"4": 2.0}}
    assert operator.condition("ProfileFresh").reason == "Stale"
    assert operator.condition("Degraded").reason == "SlowWorker"
    assert operator.status.profile_hash
    del operator.http.answers["http://10.0.1.1:8080/metrics"]
    operator.restart()
    await operator.reconcile()
    assert operator.condition("MetricsAvailable").status == "True"
    assert operator.condition("ProfileFresh").reason == "Stale"
    assert operator.condition("Degraded").status == "False"


async def test_a_deployment_that_was_just_made_may_grow_before_its_controller_has_seen_it() -> None:
    operator = Operator(service_object())
    await operator.reconcile()
    operator.cluster.put(service_object(generation=2, gpus={"min": 4, "max": 4}))
    await operator.reconcile()
    assert sum(operator.replicas.values()) == 4


@virtual
async def test_the_demand_once_known_is_read_once_per_period_whatever_events_come() -> None:
    operator = Operator(service_object(**METRICS))
    operator.prometheus()
    steps = []
    for _ in range(9):
        operator.http.requested.clear()
        wait_s = await operator.reconciler.reconcile()
        steps.append((wait_s, bool(operator.http.requested)))
        await asyncio.sleep(EVERY_S / 2)
    # Known when the readings reach over five seconds.
    assert steps == [(EVERY_S, True)] * 6 + [(EVERY_S / 2, False), (EVERY_S, True), (EVERY_S / 2, False)]


@virtual
async def test_what_could_not_be_read_is_asked_for_again_at_the_next_event() -> None:
    operator = Operator(service_object(**METRICS))
    await operator.reconcile()
    assert operator.condition("MetricsAvailable").reason == "Unreachable"
    operator.prometheus()
    await operator.reconcile()
    assert operator.condition("MetricsAvailable").status == "True"


async def test_a_changed_service_has_other_children() -> None:
    operator = Operator(service_object())
    await operator.reconcile()
    operator.cluster.put(service_object(generation=2, router={"replicas": 3}))
    assert ("apply", "images-router") in await operator.reconcile()
    assert await operator.reconcile() == []


@pytest.mark.parametrize("gone", [False, True])
async def test_a_service_that_goes_is_left_to_the_garbage_collector(gone: bool) -> None:
    operator = Operator(service_object())
    if gone:
        operator.cluster.take("DiffusionService", NAME)
    else:
        deleting = service_object()
        deleting["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        operator.cluster.put(deleting)
    await operator.reconcile()
    assert operator.cluster.kube.requests == []


@pytest.mark.parametrize("source", [{}, METRICS])
def test_a_wall_clock_that_jumps_moves_nothing(monkeypatch: pytest.MonkeyPatch, source: dict[str, Any]) -> None:
    real_s = time.time

    @virtual
    async def steps() -> None:
        clock = asyncio.get_running_loop().time
        operator = Operator(service_object(**source))
        operator.prometheus()
        operator.sampled_s = lambda: 1.7e9 + clock()
        for step in range(40):
            jump_s = {20: -600.0, 30: 600.0}.get(step // 10 * 10, 0.0)
            monkeypatch.setattr(time, "time", lambda jump_s=jump_s: real_s() + jump_s)
            operator.arrivals = 2.0 * clock()
            operator.http.answers["http://10.0.1.1:8080/metrics"] = f"hadis_router_arrivals_total {operator.arrivals}\n"
            await operator.reconcile()
            operator.follow()
            if step > 5:
                assert operator.reconciler._memory is not None
                assert operator.reconciler._memory.demand.observed_rps == pytest.approx(2.0)
            assert operator.condition("MetricsAvailable").status == "True"
            assert operator.condition("Degraded").reason != "NotReady"
            await asyncio.sleep(EVERY_S)

    steps()


@virtual
async def test_no_error_of_the_demand_stops_children_from_being_put_right(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = Operator(service_object(**METRICS))
    lies: list[Any] = ["histogram", '"abc"', '{"status":"success"}', "[" * 10_000, '{"status":"success","data":[1]}']
    for lie in [*lies, RuntimeError("a fault of ours")]:
        if isinstance(lie, Exception):
            monkeypatch.setattr("hadis_operator.demand_reader.from_prometheus", AsyncMock(side_effect=lie))
        else:
            operator.http.answers[f"{PROMETHEUS}/api/v1/query"] = lie
        operator.cluster.put(child_object("Service", NAME))  # somebody took away all that we want of it
        await asyncio.sleep(60)  # the same object is not written again and again
        assert ("apply", NAME) in await operator.reconcile(), lie
        metrics = operator.condition("MetricsAvailable")
        assert (metrics.status, metrics.reason) == (
            "False",
            "ReadFailed" if isinstance(lie, Exception) else "BadAnswer",
        )
        assert "until the demand is known, plans are for none" in metrics.message
        await asyncio.sleep(EVERY_S)
