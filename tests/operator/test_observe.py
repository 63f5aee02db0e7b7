"""The operator's snapshot: what becomes of Deployments, pods and a status."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from documents import plan_document, profile_document
from hadis.api.resources import CascadeProfile, ServiceSpec
from hadis.planning.memory import Memory
from hadis.planning.plan import Plan, TierPlan
from hadis.planning.profile import Profile
from hadis.planning.snapshot import DemandReading, Problem, Snapshot, Worker, WorkerGroup
from hadis.protocol.address import worker_name
from hadis.protocol.labels import EVERY_TIER, REMOTE, REVISION
from hadis_operator import children
from hadis_operator.children import Children
from hadis_operator.children.common import Owner
from hadis_operator.observe import fitting, groups_of, memory_of, problem_of_routers, snapshot_of, worker_of
from hadis_operator.settings import OperatorSettings
from hadis_operator.status_writer import gpu_counts
from hadis_operator.views import service_view
from hadis_operator.workload_views import DeploymentView, deployment_view, pod_view
from kube_objects import NAME, NAMESPACE, deployment_object, pod_object, service_object

SPEC = ServiceSpec.read(service_object()["spec"])
NOT_READ = Problem("NotRead", "")


def seen(profile: Profile | Problem, desired: Children | None, *deployments: DeploymentView) -> Snapshot:
    pods = [pod_view(pod_object("p", pool=EVERY_TIER, ready=True)), pod_view(pod_object("q", pool="gone"))]
    return snapshot_of(5.0, SPEC, profile, desired, NOT_READ, deployments, pods, routers=2, late_s=60.0)


def test_groups_are_those_that_the_spec_asks_for_and_then_the_former_ones(profile: Profile) -> None:
    desired = children.make(Owner(NAME, NAMESPACE, "u"), SPEC, OperatorSettings(), profile, shared=False)
    light, heavy = (desired.workers[tier]["metadata"]["labels"][REVISION] for tier in ("light", "heavy"))
    refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    former = deployment_object("old", pool=EVERY_TIER, replicas=1, created=3, observed=False, conditions=(refused,))
    made = deployment_object(light, replicas=2, created=1)
    snapshot = seen(profile, desired, deployment_view(former), deployment_view(made))
    assert snapshot.groups == (
        WorkerGroup(light, ("light",), replicas=2, created=1),
        WorkerGroup(heavy, ("heavy",), exists=False),
        WorkerGroup(
            "old", ("light", "heavy"), replicas=1, created=3, observed=False, stale=True,
            refused=Problem("QuotaExceeded", "images-worker-old: exceeded quota"),
        ),
    )  # fmt: skip


def test_workers_have_the_tiers_of_their_pool_that_the_profile_knows(profile: Profile) -> None:
    snapshot = seen(profile, None)
    assert snapshot.workers == (
        Worker("p", "l1", ("light", "heavy"), ready=True, url="http://10.0.0.1:8100"),
        Worker("q", "l1", (), url="http://10.0.0.1:8100"),
    )
    assert (snapshot.now_s, snapshot.spec, snapshot.profile, snapshot.reading) == (5.0, SPEC, profile, NOT_READ)
    assert (snapshot.routers, snapshot.late_s) == (2, 60.0)


def test_workers_that_routers_name_are_known_by_their_addresses(profile: Profile) -> None:
    url = "http://10.0.0.1:8100"
    for known_as in (worker_name(url), url):  # a router of the version before tells the address
        reading = DemandReading(5.0, {}, worker_ratios={known_as: 3.0, "worker-gone": 2.0})
        pods = [pod_view(pod_object("p", pool=EVERY_TIER, ready=True))]
        snapshot = snapshot_of(5.0, SPEC, profile, None, reading, (), pods, routers=2, late_s=60.0)
        assert isinstance(snapshot.reading, DemandReading)
        assert snapshot.reading.worker_ratios == {url: 3.0, "worker-gone": 2.0}


REFUSED = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
NO_NODE = {"conditions": [{"type": "PodScheduled", "status": "False", "message": "no node"}]}
PULLS = {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}
LONG_AGO = {"startTime": "1970-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("conditions", "pod", "reason"),
    [
        ((), {}, None),
        ((REFUSED,), {"status": PULLS}, "QuotaExceeded"),
        ((), {"status": PULLS}, "ImagePullBackOff"),
        ((), {"status": NO_NODE}, "Unschedulable"),
        ((), {"status": LONG_AGO}, "NotReady"),
        ((), {"status": LONG_AGO, "ready": True}, None),
        ((), {"status": PULLS, "terminating": True}, None),
    ],
)
def test_what_keeps_routers_from_serving_is_known(conditions: Any, pod: Any, reason: str | None) -> None:
    deployments = [deployment_view(deployment_object("r", conditions=conditions))]
    problem = problem_of_routers(deployments, [pod_view(pod_object("p", component="router", **pod))], 61.0, 60.0)
    assert (problem.reason if problem else None) == reason


def test_workers_of_an_endpoint_are_known_by_their_label() -> None:
    document = profile_document()
    document["spec"]["tiers"][1] |= {"remote": {"url": "http://engine/v1", "slots": 2}, "tunable": False}
    profile = Profile(CascadeProfile.read(document))
    desired = children.make(Owner(NAME, NAMESPACE, "u"), SPEC, OperatorSettings(), profile, shared=True)
    heavy = desired.workers["heavy"]["metadata"]["labels"][REVISION]
    made = deployment_object(heavy, pool="heavy", replicas=2)
    old = deployment_object("old", pool="gone", replicas=1)
    pod = pod_object("p", pool="heavy", revision=heavy)
    for item in (made, old, pod):
        item["metadata"]["labels"][REMOTE] = "true"
    groups = groups_of(desired, [deployment_view(made), deployment_view(old)], tuple(profile.tiers), profile.slots)
    assert [(group.tiers, group.remote) for group in groups] == [(("light",), False), (("heavy",), True), ((), True)]
    assert [group.remote for group in groups_of(desired, [], tuple(profile.tiers), profile.slots)] == [False, True]
    worker = worker_of(pod_view(pod), tuple(profile.tiers), profile.slots)
    assert (worker.tiers, worker.remote) == (("heavy",), True)
    everything = worker_of(pod_view(pod_object("q", pool=EVERY_TIER)), tuple(profile.tiers), profile.slots)
    assert (everything.tiers, everything.remote) == (("light",), False)
    snapshot = snapshot_of(5.0, SPEC, profile, desired, NOT_READ, [], [pod_view(pod)], routers=1, late_s=60.0)
    assert gpu_counts(snapshot) == {"ready": 0, "existing": 0, "budget": 4}


def test_workers_that_take_several_gpus_count_as_many() -> None:
    pods = [pod_object("a", ready=True), pod_object("b")]
    deployment = deployment_object("l1", replicas=2)
    for each in (*pods, deployment):
        each["metadata"]["labels"]["hadis.dev/gpus"] = "4"
    workers = tuple(worker_of(pod_view(pod), ("light",)) for pod in pods)
    [group] = groups_of(None, [deployment_view(deployment)], ("light",))
    spec = ServiceSpec.read(service_object(gpus={"max": 9})["spec"])
    snapshot = Snapshot(0.0, spec, Problem("NotRead", ""), Problem("NotRead", ""), workers, (group,))
    assert gpu_counts(snapshot) == {"ready": 4, "existing": 8, "budget": 9}
    assert group.gpus == 4


def test_what_keeps_a_worker_from_serving_is_seen() -> None:
    waits = {"type": "PodScheduled", "status": "False", "lastTransitionTime": "1970-01-01T00:00:02Z", "message": "full"}
    crash = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    status = {"conditions": [waits], "containerStatuses": [crash], "startTime": "1970-01-01T00:00:03Z"}
    worker = worker_of(pod_view(pod_object("p", address="", terminating=True, status=status)), ("light",))
    assert worker == Worker(
        "p", "l1", ("light",), terminating=True, started_s=3.0, unschedulable_since_s=2.0,
        unschedulable=Problem("Unschedulable", "pod p waits for a node: full"),
        failure=Problem("CrashLoopBackOff", "pod p: CrashLoopBackOff"),
    )  # fmt: skip


def test_without_a_profile_what_runs_is_still_seen() -> None:
    snapshot = seen(NOT_READ, None, deployment_view(deployment_object("old", replicas=1)))
    assert snapshot.groups == (WorkerGroup("old", (), replicas=1, created=1, stale=True),)
    assert len(snapshot.workers) == 2


def test_a_status_that_says_nothing_is_an_empty_memory() -> None:
    assert memory_of(service_view(service_object())) == Memory()
    remembered = memory_of(service_view(service_object(status={"desiredByTier": {"light": 2}})))
    assert remembered == Memory(workers_by_tier={"light": 2})


def test_the_plan_that_routes_comes_back_from_the_status() -> None:
    plan = Plan("light", "light", 0.0, 0.0, (TierPlan("light", 1, 1),), 1.0, 30.0, 0.1, 0.1, reason="enough")
    target = replace(plan, reason="more is coming")
    status = {"plan": {"active": plan_document(plan), "target": plan_document(target)}}
    assert memory_of(service_view(service_object(status=status))) == Memory(plan=plan)


def test_what_was_learnt_of_batch_times_comes_back_from_the_status() -> None:
    service = service_view(service_object(status={"batchTimeRatios": {"heavy": {"1": 1.5, "16": 2.0}}}))
    assert memory_of(service).ratios == {"heavy": {1: 1.5, 16: 2.0}}


def test_an_alias_of_no_tier_is_said_and_what_runs_goes_on(profile: Profile) -> None:
    wrong = ServiceSpec.read(service_object()["spec"] | {"api": {"modelAliases": {"dall-e-3": "none"}}})
    problem = fitting(wrong, profile)
    assert isinstance(problem, Problem)
    assert (problem.reason, problem.message) == (
        "UnknownTier",
        "spec.api.modelAliases.dall-e-3: there is no tier 'none'; write one of auto, light, heavy; "
        "what runs goes on as it is",
    )
    assert fitting(SPEC, profile) is profile
    assert fitting(wrong, NOT_READ) is NOT_READ


def test_a_profile_that_no_config_map_holds_is_told(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fitting(SPEC, profile) is profile
    monkeypatch.setattr("hadis_operator.children.worker._MOST_BYTES", 100)
    problem = fitting(SPEC, profile)
    assert isinstance(problem, Problem)
    assert problem.reason == "ProfileTooLarge"
    assert "leave out cascades" in problem.message


def test_of_a_status_what_cannot_be_is_not_remembered() -> None:
    wrong = {
        "batchTimeRatios": {"light": {"1": -2.0, "2": 0.0, "4": 2.0}},
        "desiredByTier": {"light": -1, "heavy": 2},
        "sizeShares": {"64x32": -1.0, "auto": 0.5},
        "restrictedShares": {"light": 1.5, "heavy": 0.3},
    }
    memory = memory_of(service_view(service_object(status=wrong)))
    assert memory.ratios == {"light": {4: 2.0}}
    assert memory.workers_by_tier == {"heavy": 2}
    assert memory.mix == ((None, 0.5),)
    assert memory.restricted == (("heavy", 0.3),)
    assert memory_of(service_view(service_object(status={"batchTimeRatios": {"light": {"one": 1.0}}}))).ratios == {}
