"""Acting on a decision: what is written, what is left alone, and what is taken away when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fake_http import FakeHttp
from fake_kube import FakeCluster
from hadis.kube.client import ApiError
from hadis_operator.apply import Applier
from hadis_operator.children import Children
from hadis_operator.children.worker import service_name
from hadis_operator.workload_views import DELETION_COST
from kube_objects import NAME, NAMESPACE, child_object, deployment_object, pod_object
from virtual import virtual

DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
CONFIG_MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
SERVICES = f"/api/v1/namespaces/{NAMESPACE}/services"
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
SERVICE, SECRET = child_object("Service", "workers"), child_object("Secret", "images-secret")


def desired(revision: str, config_map: str = "") -> dict[str, Any]:
    """Return a Deployment as `children` makes one: without a status."""
    document = deployment_object(revision, config_map=config_map)
    del document["status"], document["metadata"]["resourceVersion"], document["metadata"]["generation"]
    return document


def children(*revisions: str) -> Children:
    return Children((SERVICE,), {revision: desired(revision) for revision in revisions}, SECRET)


class Acting:
    """An Applier on a cluster."""

    def __init__(self) -> None:
        self.cluster, self.http = FakeCluster(), FakeHttp()
        self.cluster.kube.put(f"{SECRETS}/images-secret", SECRET | {"data": {"token": "c2VjcmV0"}})
        self.applier = Applier(NAMESPACE, NAME, self.cluster.kube, self.http.session, self.cluster.cache)

    async def apply(self, desired: Children, **replicas: int) -> list[tuple[str, str]]:
        """Apply, and return what was written: verbs and names."""
        self.cluster.kube.requests.clear()
        await self.applier.apply(desired, replicas)
        return [(request.verb, request.name) for request in self.cluster.kube.requests]

    def replicas(self, revision: str) -> int:
        deployment = self.cluster.kube.objects[f"{DEPLOYMENTS}/{NAME}-worker-{revision}"]
        return int(deployment["spec"]["replicas"])


async def test_only_what_differs_is_written() -> None:
    acting = Acting()
    assert await acting.apply(children("l1"), l1=2) == [("apply", "workers"), ("apply", "images-worker-l1")]
    assert await acting.apply(children("l1"), l1=2) == []
    assert await acting.apply(children("l1"), l1=3) == [("apply", "images-worker-l1")]
    assert acting.replicas("l1") == 3


async def test_what_others_changed_is_put_right_and_what_they_added_stays() -> None:
    acting = Acting()
    await acting.apply(children("l1"), l1=2)
    scaled = deployment_object("l1", replicas=7)
    scaled["metadata"]["annotations"] = {"theirs": "1"}
    acting.cluster.put(scaled)
    assert await acting.apply(children("l1"), l1=2) == [("apply", "images-worker-l1")]
    assert acting.replicas("l1") == 2
    kept = acting.cluster.kube.objects[f"{DEPLOYMENTS}/images-worker-l1"]["metadata"]["annotations"]
    assert kept == {"theirs": "1"}


async def test_a_deployment_without_workers_is_not_made_but_one_that_is_there_is_kept() -> None:
    acting = Acting()
    assert await acting.apply(children("l1", "h1"), l1=1, h1=0) == [("apply", "workers"), ("apply", "images-worker-l1")]
    assert await acting.apply(children("l1", "h1"), l1=0, h1=0) == [("apply", "images-worker-l1")]
    assert acting.replicas("l1") == 0


async def test_a_former_deployment_is_shrunk_and_goes_with_its_last_pod() -> None:
    acting = Acting()
    acting.cluster.put(SERVICE, deployment_object("old", replicas=2), pod_object("p", revision="old", terminating=True))
    new = children("l1")
    assert await acting.apply(new, l1=0, old=1) == [("merge", "images-worker-old")]
    assert acting.replicas("old") == 1
    assert await acting.apply(new, l1=0, old=0) == [("merge", "images-worker-old")]
    assert await acting.apply(new, l1=0, old=0) == []  # its pod still holds a GPU
    acting.cluster.take("Pod", "p")
    assert await acting.apply(new, l1=0, old=0) == [("delete", "images-worker-old")]


async def test_a_former_deployment_that_nothing_was_decided_of_and_one_that_goes_already_are_left_alone() -> None:
    acting = Acting()
    going = deployment_object("going", replicas=2)
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    acting.cluster.put(SERVICE, deployment_object("old", replicas=2), going)
    assert await acting.apply(children("l1"), l1=0, going=0) == []


async def test_config_maps_that_pods_mount_are_kept_and_what_is_not_ours_is_left_alone() -> None:
    acting = Acting()
    acting.cluster.put(
        SERVICE,
        deployment_object("old", replicas=1, config_map="mounted"),
        child_object("ConfigMap", "mounted"),
        child_object("ConfigMap", "former"),
        child_object("ConfigMap", "theirs", owned=False),
        child_object("Service", "former"),
    )
    written = await acting.apply(children("l1"), l1=0, old=1)
    assert [(r.verb, r.path.rsplit("/", 2)[1:]) for r in acting.cluster.kube.requests] == [
        ("delete", ["configmaps", "former"]),
        ("delete", ["services", "former"]),
    ]
    assert written
    assert await acting.apply(children("l1"), l1=0, old=1) == []
    assert f"{CONFIG_MAPS}/mounted" in acting.cluster.kube.objects
    assert f"{CONFIG_MAPS}/theirs" in acting.cluster.kube.objects


async def test_workers_of_a_former_pool_are_found_by_their_service_while_they_are_there() -> None:
    """A tier that went from an endpoint to workers that have every tier."""
    acting = Acting()
    former = deployment_object("old", pool="heavy", replicas=2)
    acting.cluster.put(SERVICE, former, child_object("Service", service_name(NAME, "heavy")))
    assert await acting.apply(children("l1"), l1=0, old=2) == []
    acting.cluster.take("Deployment", "images-worker-old")
    assert await acting.apply(children("l1"), l1=0) == [("delete", service_name(NAME, "heavy"))]


def ready_pods(acting: Acting, revision: str) -> None:
    """Have three ready workers: one is busy, one idle, one says nothing and was idle before."""
    for i, busy in enumerate(("true", "false")):
        acting.cluster.put(pod_object(f"p{i}", revision=revision, ready=True, address=f"10.0.0.{i}"))
        acting.http.answers[f"http://10.0.0.{i}:8100/status"] = f'{{"tiers": [], "ready": true, "busy": {busy}}}'
    mute = pod_object("p2", revision=revision, ready=True, address="10.0.0.2", annotations={DELETION_COST: "-1"})
    acting.cluster.put(mute, pod_object("p3", revision=revision))


@pytest.mark.parametrize("stale", [False, True])
async def test_idle_pods_are_marked_before_a_count_is_lowered(stale: bool) -> None:
    acting = Acting()
    acting.cluster.put(SERVICE, deployment_object("l1", replicas=3))
    ready_pods(acting, "l1")
    written = await acting.apply(Children((SERVICE,), {}, SECRET) if stale else children("l1"), l1=2)
    assert written == [("merge", "p1"), ("merge", "p2"), ("merge" if stale else "apply", "images-worker-l1")]
    marks = [r.body["metadata"]["annotations"][DELETION_COST] for r in acting.cluster.kube.requests[:2] if r.body]
    assert marks == ["-1", None]
    costs = {pod.name: pod.deletion_cost for pod in acting.cluster.cache.pods(NAMESPACE, NAME, "worker")}
    assert costs == {"p0": None, "p1": "-1", "p2": None, "p3": None}


@pytest.mark.parametrize("replicas", [0, 3, 4])
async def test_no_worker_is_asked_where_none_or_all_of_the_ready_ones_go(replicas: int) -> None:
    acting = Acting()
    acting.cluster.put(SERVICE, deployment_object("l1", replicas=5))
    ready_pods(acting, "l1")
    assert await acting.apply(children("l1"), l1=replicas) == [("apply", "images-worker-l1")]
    assert acting.http.requested == []


async def test_what_exists_is_listed_before_the_first_step_and_not_again() -> None:
    acting = Acting()
    acting.cluster.kube.put(f"{DEPLOYMENTS}/images-worker-l1", deployment_object("l1", replicas=2))
    acting.cluster.kube.put(f"/api/v1/namespaces/{NAMESPACE}/pods/p", pod_object("p"))
    other = deployment_object("l1")
    other["metadata"]["labels"] = {**other["metadata"]["labels"], "hadis.dev/service": "other"}
    acting.cluster.kube.put(f"{DEPLOYMENTS}/other", other)
    await acting.applier.list_once()
    assert [d.replicas for d in acting.cluster.cache.deployments(NAMESPACE, NAME, "worker")] == [2]
    assert len(acting.cluster.cache.pods(NAMESPACE, NAME, "worker")) == 1
    assert acting.cluster.cache.deployments(NAMESPACE, "other", "worker") == []
    acting.cluster.kube.put(f"/api/v1/namespaces/{NAMESPACE}/pods/q", pod_object("q"))
    await acting.applier.list_once()
    assert len(acting.cluster.cache.pods(NAMESPACE, NAME, "worker")) == 1


@pytest.mark.parametrize("refused", ["workers", "images-worker-l1"])
async def test_a_child_that_is_refused_ends_no_other_and_is_written_again(refused: str) -> None:
    acting = Acting()
    paths = {"workers": f"{SERVICES}/workers", "images-worker-l1": f"{DEPLOYMENTS}/images-worker-l1"}
    acting.cluster.kube.refuse[paths[refused]] = 500
    written = [("apply", "workers"), ("apply", "images-worker-l1"), ("apply", "images-worker-h1")]
    assert await acting.apply(children("l1", "h1"), l1=1, h1=1) == written
    assert acting.applier.problem is not None
    del acting.cluster.kube.refuse[paths[refused]]
    assert await acting.apply(children("l1", "h1"), l1=1, h1=1) == [("apply", refused)]
    assert acting.applier.problem is None


async def test_an_api_server_that_is_away_is_an_error() -> None:
    acting = Acting()
    acting.cluster.kube.refuse[f"{SERVICES}/workers"] = 503
    with pytest.raises(ApiError):
        await acting.apply(children("l1"), l1=1)


async def test_a_secret_of_others_is_told_and_not_read() -> None:
    acting = Acting()
    theirs = child_object("Secret", "images-secret", owned=False) | {"data": {"token": "c2VjcmV0"}}
    acting.cluster.kube.put(f"{SECRETS}/images-secret", theirs)
    assert await acting.apply(children("l1"), l1=1) == [("apply", "workers"), ("apply", "images-worker-l1")]
    assert acting.applier.secret is None
    assert acting.applier.problem is not None
    assert acting.applier.problem.message.startswith("Secret images-secret is there already")


async def test_a_deployment_that_only_looks_like_ours_is_neither_shrunk_nor_deleted() -> None:
    acting = Acting()
    for name, count in (("theirs", 2), ("empty", 0)):
        other = deployment_object(name, replicas=count)
        other["metadata"]["ownerReferences"] = []
        acting.cluster.put(other)
    acting.cluster.put(SERVICE)
    assert await acting.apply(children("l1"), l1=0, theirs=0, empty=0) == []


@virtual
async def test_what_will_not_go_is_not_deleted_all_the_time() -> None:
    acting = Acting()
    former, deleted = child_object("Service", "former"), 0
    for _ in range(60):
        acting.cluster.put(SERVICE, former)  # a finalizer holds it
        deleted += len(await acting.apply(children()))
        await asyncio.sleep(1)
    assert deleted == 7
