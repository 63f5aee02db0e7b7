"""The operator's ledger of GPU pools: whom a step concerns, who counts, and what the pool's status says."""

from __future__ import annotations

from typing import Any

from fake_kube import FakeCluster
from hadis.planning.gpu_pool import Member
from hadis.planning.snapshot import Problem
from hadis.protocol.labels import SERVICE
from hadis_operator.cache import Cache
from hadis_operator.gpu_pools import GpuPools
from hadis_operator.pool_status import write_pool_statuses
from hadis_operator.views import ServiceView
from kube_objects import NAMESPACE, deployment_object, pod_object, service_object


def pool_object(gpus: Any = 8, name: str = "all") -> dict[str, Any]:
    return {"kind": "GpuPool", "metadata": {"namespace": NAMESPACE, "name": name}, "spec": {"gpus": gpus}}


def named(item: dict[str, Any], service: str) -> dict[str, Any]:
    """Return a Deployment or pod as one of another service."""
    meta = item["metadata"]
    labels = meta["labels"] | {SERVICE: service}
    return item | {"metadata": meta | {"labels": labels, "name": f"{service}-{meta['name']}"}}


class SharedPool:
    """A cluster with services that share the pool `all`."""

    def __init__(self, *services: str) -> None:
        self.woken: list[str] = []
        self.cluster = FakeCluster(cache=Cache(lambda service: None))
        self.pools = GpuPools(self.cluster.cache, self.woken.append)
        self.cluster.put(pool_object())
        for name in services:
            item = service_object(gpus={"max": 8, "pool": "all"})
            self.cluster.put(item | {"metadata": item["metadata"] | {"name": name}})

    def view(self, name: str) -> ServiceView:
        seen = self.cluster.cache.service(f"{NAMESPACE}/{name}")
        assert seen is not None
        return seen

    def put(self, name: str, desired: int, taken: int) -> None:
        self.pools.put(self.view(name), Member(1.0, 0, desired, taken))


def test_a_step_wakes_those_whose_grant_it_changes() -> None:
    shared = SharedPool("a", "b", "c")
    for name in "abc":
        shared.put(name, desired=0, taken=0)
    shared.woken.clear()
    shared.put("a", desired=8, taken=6)
    assert shared.woken == []  # the others want nothing
    shared.put("b", desired=4, taken=2)
    assert shared.woken == [f"{NAMESPACE}/a"]
    shared.woken.clear()
    shared.put("a", desired=8, taken=4)
    assert shared.woken == [f"{NAMESPACE}/b"]
    shared.woken.clear()
    shared.put("a", desired=8, taken=4)
    assert shared.woken == []


def test_before_its_first_step_a_service_counts_as_it_is_seen_and_nobody_may_add() -> None:
    shared = SharedPool("a", "b")
    shared.cluster.put(named(deployment_object("l1", replicas=3, created=2), "b"))
    for i in range(2):
        shared.cluster.put(named(pod_object(f"p{i}"), "b"))
    seen = shared.pools.pool(NAMESPACE, "all").members[f"{NAMESPACE}/b"]
    assert (seen.taken, seen.settled) == (3, False)


def test_gpus_of_services_that_are_gone_count_until_their_pods_are() -> None:
    shared = SharedPool("a")
    shared.cluster.put(
        named(pod_object("p", terminating=True), "gone"), named(pod_object("r", component="router"), "gone")
    )
    assert shared.pools.pool(NAMESPACE, "all").elsewhere == 1
    shared.cluster.take("Pod", "gone-p")
    assert shared.pools.pool(NAMESPACE, "all").elsewhere == 0


def test_a_service_that_cannot_be_read_is_still_of_its_pool() -> None:
    shared = SharedPool("a")
    item = service_object(gpus={"max": -1, "pool": "all"})
    shared.cluster.put(item | {"metadata": item["metadata"] | {"name": "b"}})
    shared.cluster.put(named(deployment_object("l1", replicas=2), "b"))
    shared.pools.put_seen(shared.view("b"))
    member = shared.pools.pool(NAMESPACE, "all").members[f"{NAMESPACE}/b"]
    assert (member.taken, member.settled) == (2, True)


def test_a_pool_that_is_not_there_or_cannot_be_read_says_so() -> None:
    shared = SharedPool("a")
    missing = shared.pools.pool(NAMESPACE, "other").gpus
    assert isinstance(missing, Problem)
    assert (missing.reason, "other" in missing.message) == ("PoolNotFound", True)
    shared.cluster.put(pool_object(gpus="many"))
    invalid = shared.pools.pool(NAMESPACE, "all").gpus
    assert isinstance(invalid, Problem)
    assert invalid.reason == "PoolInvalid"


async def test_the_status_is_written_when_it_changes() -> None:
    shared = SharedPool("a", "b")
    shared.put("a", desired=8, taken=5)
    shared.put("b", desired=2, taken=2)

    async def write() -> list[dict[str, Any]]:
        shared.cluster.kube.requests.clear()
        await write_pool_statuses(shared.cluster.kube, shared.cluster.cache, shared.pools)
        return [request.body["status"] for request in shared.cluster.kube.requests if request.body]

    services = {"a": {"desired": 8, "share": 6, "taken": 5}, "b": {"desired": 2, "share": 2, "taken": 2}}
    assert await write() == [{"taken": 7, "services": services}]
    assert await write() == []
    shared.cluster.take("DiffusionService", "b")
    (patch,) = await write()
    assert patch["services"] == {"a": {"desired": 8, "share": 8, "taken": 5}, "b": None}
    assert await write() == []
    foreign = {"taken": "many", "services": {"old": 3}, "new": 1}
    shared.cluster.put(pool_object() | {"status": foreign})
    (patch,) = await write()
    assert patch["services"] == {"a": {"desired": 8, "share": 8, "taken": 5}, "old": None}
    assert await write() == [], "what another version said besides is left alone"
    former = {"taken": 5, "services": {"a": {"wanted": 8, "share": 8, "taken": 5}}}
    shared.cluster.put(pool_object() | {"status": former})
    (patch,) = await write()
    assert patch["services"] == {"a": {"desired": 8, "share": 8, "taken": 5}}, "a status of before is written anew"
