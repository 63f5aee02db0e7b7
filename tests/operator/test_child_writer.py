"""One child among others who write: what is written, when again, and what is told of what could not be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fake_kube import FakeCluster
from hadis.kube.client import ApiError, Object
from hadis.planning.snapshot import Problem
from hadis_operator.backoff import WriteBackoff
from hadis_operator.child_writer import ChildWriter
from hadis_operator.field_managers import MANAGER
from kube_objects import NAMESPACE, OWNERS, child_object, deployment_object
from virtual import virtual

SERVICES = f"/api/v1/namespaces/{NAMESPACE}/services"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
PORTS = {"ports": [{"port": 80, "protocol": "TCP"}]}
SERVICE = child_object("Service", "images") | {"spec": PORTS}


class Writing:
    """A ChildWriter on a cluster."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.kube = self.cluster.kube
        self.writer = ChildWriter(NAMESPACE, self.kube, self.cluster.cache)

    async def apply(self, document: Object = SERVICE) -> int:
        """Apply, and return how many requests that was."""
        before = len(self.kube.requests)
        await self.writer.apply(document)
        return len(self.kube.requests) - before

    def undo(self, **entry: Any) -> None:
        """Have somebody change our port; `entry` is what managedFields say of it."""
        meta = SERVICE["metadata"] | {"managedFields": [entry]}
        self.cluster.put(SERVICE | {"metadata": meta, "spec": {"ports": [{"port": 81, "protocol": "TCP"}]}})


@virtual
async def test_what_is_undone_again_and_again_is_written_ever_more_seldom() -> None:
    writing, now = Writing(), asyncio.get_running_loop().time
    written = []
    await writing.apply()
    while now() < 300:
        writing.undo()
        written += [now()] * await writing.apply()
        await asyncio.sleep(0.5)
    assert written == [0, 1, 3, 7, 15, 31, 61, 91, 121, 151, 181, 211, 241, 271]
    assert await writing.apply(SERVICE | {"spec": {"ports": [{"port": 82, "protocol": "TCP"}]}}) == 1  # ours


@virtual
async def test_a_contest_names_the_other_and_ends_a_minute_after_the_last_write() -> None:
    writing = Writing()
    rival = {"manager": "rival", "operation": "Update", "time": "2026-01-01T00:00:00Z", "fieldsV1": {}}
    await writing.apply()
    for wait_s in (0, 1, 2):
        await asyncio.sleep(wait_s)
        assert writing.writer.problem() is None
        writing.undo(**rival)
        await writing.apply()
    problem = writing.writer.problem()
    assert problem is not None
    assert problem.reason == "Contested"
    assert problem.message.startswith("Service images: rival changes spec.ports[port:80,protocol:TCP] again and again")
    await asyncio.sleep(59)
    assert await writing.apply() == 0
    assert writing.writer.problem() == problem
    await asyncio.sleep(2)
    assert await writing.apply() == 0
    assert writing.writer.problem() is None


@virtual
async def test_a_hand_that_slips_once_a_minute_is_no_contest() -> None:
    writing = Writing()
    for _ in range(9):
        await asyncio.sleep(61)
        assert await writing.apply() == 1
        writing.undo()
    assert writing.writer.problem() is None


@virtual
async def test_what_admission_changed_is_not_written_again_but_another_change_is() -> None:
    writing = Writing()
    apply = writing.kube.apply

    async def admitted(path: str, document: Object, manager: str) -> Object:
        return await apply(path, document | {"spec": PORTS | {"type": "LoadBalancer"}}, manager)

    writing.kube.apply = admitted  # type: ignore[method-assign]
    plain = SERVICE | {"spec": PORTS | {"type": "ClusterIP"}}
    assert await writing.apply(plain) == 1
    assert await writing.apply(plain) == 0
    writing.undo()
    assert await writing.apply(plain) == 1
    assert await writing.apply(plain) == 0


@pytest.mark.parametrize("known", [False, True])
async def test_what_is_of_others_is_told_and_left_alone(known: bool) -> None:
    writing = Writing()
    theirs = child_object("Service", "images", owned=False)
    if known:
        writing.cluster.put(theirs)
    else:
        writing.kube.put(f"{SERVICES}/images", theirs)
    assert await writing.apply() == 0
    problem = writing.writer.problem()
    assert problem is not None
    assert problem.reason == "NameTaken"
    assert problem.message.startswith("Service images is there already and not of this service")
    writing.kube.objects.clear()
    writing.cluster.cache.replace("others", NAMESPACE, [])
    assert await writing.apply() == 1
    assert writing.writer.problem() is None


async def test_another_incarnation_of_the_service_is_another_owner() -> None:
    writing = Writing()
    former = child_object("Service", "images")
    former["metadata"] = {**former["metadata"], "ownerReferences": [OWNERS[0] | {"uid": "before"}]}
    writing.kube.put(f"{SERVICES}/images", former)
    assert await writing.apply() == 0
    assert writing.writer.problem() is not None


async def test_what_is_ours_and_was_not_seen_yet_is_compared_first() -> None:
    writing = Writing()
    writing.kube.put(f"{SERVICES}/images", SERVICE)
    assert await writing.apply() == 0
    assert await writing.apply(SERVICE | {"spec": {"ports": [{"port": 82, "protocol": "TCP"}]}}) == 1


@virtual
async def test_what_is_refused_is_told_in_the_servers_words_and_tried_again() -> None:
    writing = Writing()
    writing.kube.refuse[f"{SERVICES}/images"] = 422
    for _ in range(4):
        await writing.apply()
        await asyncio.sleep(9)
    assert writing.writer.problem() == Problem("ChildRefused", "Service images: refused")
    del writing.kube.refuse[f"{SERVICES}/images"]
    await asyncio.sleep(30)
    assert await writing.apply() == 1
    writing.undo()
    assert await writing.apply() == 1  # what was refused was no contest
    assert writing.writer.problem() is None


@virtual
async def test_what_is_wanted_no_more_is_forgotten() -> None:
    backoff = WriteBackoff()
    for _ in range(4):
        backoff.tried("a", 1)
        backoff.tried("b", 1)
    backoff.keep({"a"})
    assert (backoff.contested("a"), backoff.contested("b")) == (True, False)
    assert (backoff.due("a", 1), backoff.due("b", 1)) == (False, True)


@pytest.mark.parametrize("status", [0, 401, 429, 503])
async def test_an_api_server_that_cannot_be_asked_is_no_fault_of_a_child(status: int) -> None:
    writing = Writing()
    writing.kube.refuse[f"{SERVICES}/images"] = status
    with pytest.raises(ApiError):
        await writing.apply()
    assert writing.writer.problem() is None


async def test_the_gravest_are_told_together_and_those_of_former_children_not() -> None:
    writing = Writing()
    for name in ("a", "b", "c", "d"):
        writing.kube.put(f"{SERVICES}/{name}", child_object("Service", name, owned=False))
    writing.kube.refuse[f"{SERVICES}/refused"] = 403
    names = ("refused", "d", "c", "b", "a")
    for name in names:
        await writing.apply(child_object("Service", name))
    writing.writer.forget_others()
    problem = writing.writer.problem()
    assert problem is not None
    assert problem.reason == "NameTaken"
    assert [f"Service {name} " in problem.message for name in names] == [False, False, True, True, True]
    assert problem.message.endswith("; and 1 more")
    await writing.apply(child_object("Service", "refused"))
    writing.writer.forget_others()
    assert writing.writer.problem() == Problem("ChildRefused", "Service refused: refused")


async def test_a_pod_that_is_gone_before_it_is_marked_is_no_trouble() -> None:
    writing = Writing()
    await writing.writer.change("Pod", "gone", {"metadata": {"annotations": {"a": "b"}}})
    assert writing.writer.problem() is None


def router(**spec: Any) -> Object:
    """Return the routers' Deployment."""
    document = deployment_object("r") | {"apiVersion": "apps/v1"}
    del document["status"]
    document["spec"] = {"template": {"spec": {"serviceAccountName": "images-router"}}, **spec}
    return document


async def test_nothing_runs_with_the_rights_of_others() -> None:
    writing = Writing()
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/images-router"
    writing.kube.put(path, child_object("ServiceAccount", "images-router", owned=False))
    assert await writing.apply(child_object("ServiceAccount", "images-router")) == 0
    assert await writing.apply(router(replicas=1)) == 0
    del writing.kube.objects[path]
    assert await writing.apply(child_object("ServiceAccount", "images-router")) == 1
    assert await writing.apply(router(replicas=1)) == 1


@pytest.mark.parametrize(
    ("manager", "managers"),
    [(MANAGER, ["hadis-operator-scale", MANAGER]), ("kube-controller-manager", [MANAGER])],
)
async def test_a_count_that_is_left_out_is_given_to_another_manager_first(manager: str, managers: list[str]) -> None:
    writing = Writing()
    fields: dict[str, Any] = {"f:spec": {"f:replicas": {}}}
    item = router(replicas=6)
    entry = {"manager": manager, "operation": "Apply", "fieldsV1": fields}
    item["metadata"] = {**item["metadata"], "managedFields": [entry]}
    writing.cluster.put(item)
    by: list[str] = []
    apply = writing.kube.apply

    async def noted(path: str, document: Object, manager: str) -> Object:
        by.append(manager)
        return await apply(path, document, manager)

    writing.kube.apply = noted  # type: ignore[method-assign]
    await writing.apply(router(minReadySeconds=1))
    assert by == managers
    if len(managers) == 2:
        assert writing.kube.requests[0].body == {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": item["metadata"]["name"]},
            "spec": {"replicas": 6},
        }
