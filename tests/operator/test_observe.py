"""The operator's snapshot: what becomes of Deployments, pods and a status."""

from __future__ import annotations

from hadis.api.resources import ServiceSpec
from hadis.planning.profile import Profile
from hadis.planning.snapshot import Memory, Problem, Snapshot, WorkerGroup
from hadis.protocol.labels import EVERY_TIER, REVISION
from hadis_operator import children
from hadis_operator.children import Children
from hadis_operator.children.common import Owner
from hadis_operator.observe import memory_of, snapshot_of
from hadis_operator.settings import OperatorSettings
from hadis_operator.views import DeploymentView, deployment_view, pod_view, service_view
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
    assert [(w.name, w.group, w.tiers, w.ready) for w in snapshot.workers] == [
        ("p", "l1", ("light", "heavy"), True),
        ("q", "l1", (), False),
    ]


def test_without_a_profile_what_runs_is_still_seen() -> None:
    snapshot = seen(NOT_READ, None, deployment_view(deployment_object("old", replicas=1)))
    assert snapshot.groups == (WorkerGroup("old", (), replicas=1, created=1, stale=True),)
    assert len(snapshot.workers) == 2


def test_a_status_that_says_nothing_is_an_empty_memory() -> None:
    assert memory_of(service_view(service_object())) == Memory()
    remembered = memory_of(service_view(service_object(status={"wantedByTier": {"light": 2}})))
    assert remembered == Memory(workers_by_tier={"light": 2})


def test_what_was_learnt_of_batch_times_comes_back_from_the_status() -> None:
    service = service_view(service_object(status={"batchTimeRatios": {"heavy": {"1": 1.5, "16": 2.0}}}))
    assert memory_of(service).ratios == {"heavy": {1: 1.5, 16: 2.0}}
