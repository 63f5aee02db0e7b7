"""The operator against a real API server, scheduler and controllers, under the chart's own rights."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest
from cluster_documents import profile, service
from control_plane import ControlPlane, wait_for
from fakes import worker_at
from queries import WAIT_S, BudgetWatch, condition, names_of, settled, status, workers


def test_a_service_gets_its_children_and_counts_follow_the_load(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any, budget: BudgetWatch
) -> None:
    start_operator()
    demand.rps = 2.0
    plane.apply(profile(namespace), service(namespace, demand))
    wait_for(lambda: condition(plane, namespace, "Ready")["status"] == "True", WAIT_S, "the service to be ready")
    kinds = "sa,role,rolebinding,deployment,service,pdb,configmap"
    names = plane.kubectl("get", kinds, "-n", namespace, "-l", "hadis.dev/service=images", "-o", "name").stdout.split()
    assert {n.split("/")[0].split(".")[0] for n in names} == {
        "serviceaccount",
        "role",
        "rolebinding",
        "deployment",
        "service",
        "poddisruptionbudget",
        "configmap",
    }
    calm = settled(plane, namespace)
    assert calm.get("heavy", 0) > calm.get("light", 0)
    demand.rps = 40.0
    wait_for(lambda: workers(plane, namespace).get("light", 0) >= 4, 60, "the light tier to grow")
    assert status(plane, namespace)["plan"]["active"]["quality"] > 21
    wait_for(lambda: status(plane, namespace)["demand"]["observedRps"] > 10, WAIT_S, "the demand to be reported")
    demand.rps = 1.0
    wait_for(lambda: workers(plane, namespace).get("heavy", 0) >= 2, 90, "the heavy tier to come back")
    assert budget.most <= 8
    row = plane.kubectl("get", "dsvc", "-n", namespace).stdout.splitlines()
    assert row[0].split() == ["NAME", "READY", "PLAN", "LIGHT", "HEAVY", "GPUS", "DEMAND", "QUALITY", "AGE"]
    assert row[1].split()[:2] == ["images", "True"]
    assert status(plane, namespace)["changes"]
    assert "PlanChanged" in plane.kubectl("get", "events", "-n", namespace).stdout


def test_edits_by_hand_are_put_right_and_others_fields_left_alone(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    start_operator()
    plane.apply(profile(namespace), service(namespace, demand))
    counts = settled(plane, namespace)
    names = plane.kubectl("get", "deployment", "-n", namespace, "-l", "hadis.dev/component=worker", "-o", "name")
    for name in names.stdout.split():
        plane.kubectl("scale", name, "-n", namespace, "--replicas=0")
        plane.kubectl("annotate", name, "-n", namespace, "someone=else")
    plane.kubectl("delete", "service", "images", "-n", namespace)
    plane.kubectl("patch", "role", "images-router", "-n", namespace, "--type=merge", "-p", '{"rules":[]}')
    wait_for(lambda: workers(plane, namespace) == counts, WAIT_S, "the workers to come back")
    plane.get("service", "images", "-n", namespace)
    assert len(plane.get("role", "images-router", "-n", namespace)["rules"]) == 2
    first = names.stdout.split()[0]
    assert plane.get(first, "-n", namespace)["metadata"]["annotations"]["someone"] == "else"


def test_nothing_is_written_while_nothing_changes(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    start_operator()
    plane.apply(profile(namespace), service(namespace, demand))
    settled(plane, namespace)

    def known() -> bool:
        return bool(condition(plane, namespace, "CapacitySufficient")["status"] == "True")

    wait_for(known, WAIT_S, "the demand to be known")
    time.sleep(3)

    def versions() -> dict[str, str]:
        items = plane.get("dsvc,deployments,services,roles,configmaps,pdb", "-n", namespace)["items"]
        return {f"{i['kind']}/{i['metadata']['name']}": i["metadata"]["resourceVersion"] for i in items}

    before, requests = versions(), len(plane.requests_of(namespace))
    time.sleep(6)
    assert versions() == before
    # Watches are begun anew and caches compared now and then; that is all.
    assert [r for r in plane.requests_of(namespace)[requests:] if r[0] not in ("list", "watch")] == []


def test_idle_workers_go_first(plane: ControlPlane, namespace: str, start_operator: Any, demand: Any) -> None:
    start_operator()
    plane.apply(profile(namespace), service(namespace, demand, placement="Shared", gpus={"min": 4, "max": 4}))
    assert settled(plane, namespace) == {"ALL": 4}
    busy = set()
    with contextlib.ExitStack() as stack:
        for i, name in enumerate(sorted(names_of(plane, namespace))):
            address = f"127.0.{10 + i}.1"
            stack.enter_context(worker_at(address, busy=i % 2 == 0))
            status = json.dumps({"status": {"podIP": address, "podIPs": [{"ip": address}]}})
            plane.kubectl("patch", "pod", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", status)
            busy |= {name} if i % 2 == 0 else set()
        time.sleep(1)
        plane.apply(service(namespace, demand, placement="Shared", gpus={"min": 2, "max": 2}))
        wait_for(lambda: len(names_of(plane, namespace)) == 2, WAIT_S, "two workers to go")
    assert names_of(plane, namespace) == busy


def test_a_profile_that_is_missing_wrong_or_changed(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any, budget: BudgetWatch
) -> None:
    start_operator()
    plane.apply(service(namespace, demand))
    wait_for(lambda: condition(plane, namespace, "ProfileValid")["reason"] == "ProfileNotFound", WAIT_S, "the reason")
    wrong = profile(namespace)
    wrong["spec"]["configurations"][0]["light"] = "nobody"
    plane.apply(wrong)
    wait_for(lambda: "nobody" in condition(plane, namespace, "ProfileValid")["message"], WAIT_S, "the fault")
    plane.apply(profile(namespace))
    before = settled(plane, namespace)
    old = names_of(plane, namespace)
    changed = profile(namespace)
    changed["spec"]["tiers"][0]["steps"] = changed["spec"]["tiers"][1]["steps"] = 2
    plane.apply(changed)
    budget.least_ready = len(old)
    wait_for(lambda: not names_of(plane, namespace) & old, 60, "the old pods to go")
    assert budget.least_ready == len(old)  # new ones come first: the budget has room
    assert sum(settled(plane, namespace).values()) == sum(before.values())
    assert budget.most <= 8
    plane.kubectl("delete", "cprof", "two", "-n", namespace)
    wait_for(lambda: condition(plane, namespace, "ProfileValid")["reason"] == "ProfileNotFound", WAIT_S, "the reason")
    assert sum(workers(plane, namespace).values()) == sum(before.values())


def test_modes(plane: ControlPlane, namespace: str, start_operator: Any, demand: Any) -> None:
    start_operator()
    plane.apply(profile(namespace), service(namespace, demand, mode="Advisory"))
    wait_for(lambda: condition(plane, namespace, "PlanApplied")["reason"] == "Advisory", WAIT_S, "the advice")
    assert not plane.get("deployments", "-n", namespace, "-l", "hadis.dev/service=images")["items"]
    plane.apply(service(namespace, demand))
    counts = settled(plane, namespace)
    plane.apply(service(namespace, demand, mode="Paused"))
    wait_for(lambda: condition(plane, namespace, "PlanApplied")["reason"] == "Paused", WAIT_S, "the pause")
    demand.rps = 50
    time.sleep(4)
    assert workers(plane, namespace) == counts


@pytest.mark.parametrize("name", ["a" * 63, "1.2"])
def test_any_name_that_kubernetes_takes(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any, name: str
) -> None:
    start_operator()
    plane.apply(profile(namespace), service(namespace, demand, name=name), service(namespace, demand, name="b"))
    for each in (name, "b"):
        wait_for(lambda n=each: condition(plane, namespace, "Ready", n)["status"] == "True", WAIT_S, each)  # type: ignore[misc]


def test_deletion_leaves_nothing_also_without_an_operator(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    operator = start_operator()
    plane.apply(profile(namespace), service(namespace, demand))
    settled(plane, namespace)
    operator.stop()
    plane.kubectl("delete", "dsvc", "images", "-n", namespace, "--timeout=20s")

    def left() -> list[Any]:
        kinds = "deployments,services,configmaps,roles,rolebindings,sa,pdb,pods"
        children: list[Any] = plane.get(kinds, "-n", namespace, "-l", "hadis.dev/service=images")["items"]
        return children

    wait_for(lambda: not left(), WAIT_S, "the children to go")


def test_autoscaler_and_network_policy_come_and_go_with_the_spec(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    start_operator()
    router = {"replicas": 2, "autoscaling": {"maxReplicas": 5}, "allowFromAnywhere": False}
    plane.apply(profile(namespace), service(namespace, demand, router=router))
    settled(plane, namespace)
    autoscaler = plane.get("hpa", "images-router", "-n", namespace)["spec"]
    assert (autoscaler["minReplicas"], autoscaler["maxReplicas"]) == (2, 5)
    plane.get("networkpolicy", "images-router", "-n", namespace)
    plane.kubectl("scale", "deployment/images-router", "-n", namespace, "--replicas=4")  # the autoscaler's right
    time.sleep(3)
    assert plane.get("deployment", "images-router", "-n", namespace)["spec"]["replicas"] == 4
    plane.apply(service(namespace, demand, router={"replicas": 1}))

    def gone() -> bool:
        left = {item["metadata"]["name"] for item in plane.get("hpa,networkpolicy", "-n", namespace)["items"]}
        return (
            left == {"images-worker"}
            and plane.get("deployment", "images-router", "-n", namespace)["spec"]["replicas"] == 1
        )

    wait_for(gone, WAIT_S, "both to go")
