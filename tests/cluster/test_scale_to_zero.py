"""Scale to zero against a real API server, scheduler and controllers; the router's answers are played."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from cluster_documents import profile, service
from control_plane import ControlPlane, wait_for
from fakes import RouterMetrics
from queries import WAIT_S, BudgetWatch, condition, names_of, settled, status

ADDRESS = "127.0.40.1"


def give_address(plane: ControlPlane, namespace: str) -> None:
    """Have the router's pod at an address where a test answers."""
    (router,) = plane.get("pods", "-n", namespace, "-l", "hadis.dev/component=router")["items"]
    patch = json.dumps({"status": {"podIP": ADDRESS, "podIPs": [{"ip": ADDRESS}]}})
    name = router["metadata"]["name"]
    plane.kubectl("patch", "pod", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)


def test_workers_go_when_nobody_asks_and_come_back_with_the_next_request(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any, budget: BudgetWatch
) -> None:
    operator = start_operator()
    gpus = {"max": 8, "idleAfter": "3s"}
    plane.apply(profile(namespace), service(namespace, demand, gpus=gpus, router={"replicas": 1}))
    settled(plane, namespace)
    assert condition(plane, namespace, "Idle")["reason"] == "InUse"
    with contextlib.closing(RouterMetrics(ADDRESS)) as router:
        give_address(plane, namespace)
        router.idle_s = 900.0
        wait_for(lambda: not names_of(plane, namespace), WAIT_S, "the workers to go")
        wait_for(lambda: condition(plane, namespace, "PlanApplied")["status"] == "True", WAIT_S, "all to be calm")
        idle = condition(plane, namespace, "Idle")
        assert idle["status"] == "True"
        assert idle["message"].startswith("no request for 3s; the next one starts a worker in about")
        assert condition(plane, namespace, "Ready")["reason"] == "Idle"
        operator.stop()
        router.idle_s = 0.0  # the request that nobody sees
        start_operator()
        wait_for(lambda: names_of(plane, namespace), WAIT_S, "workers")
        wait_for(lambda: condition(plane, namespace, "Ready")["reason"] == "Serving", WAIT_S, "the first worker")
        assert status(plane, namespace)["startSeconds"] > 0
    assert budget.most <= 8
    events = plane.kubectl("get", "events", "-n", namespace, "-o", "jsonpath={.items[*].message}").stdout
    assert "Ready: no request for 3s" in events
    assert "Ready: requests wait for the first worker" in events


@pytest.mark.parametrize(
    ("objective", "gpus", "words"),
    [
        ({}, {"max": 2, "min": 1, "idleAfter": "15m"}, "write min: 0"),
        ({}, {"max": 2, "idleAfter": "soon"}, "idleAfter"),
        ({"firstImage": "2m"}, {"max": 2}, "write gpus.idleAfter"),
        ({"firstImage": "3s"}, {"max": 2, "idleAfter": "15m"}, "must not be shorter than latency"),
        ({"firstImage": "1m30s"}, {"max": 2, "idleAfter": "1h"}, ""),
    ],
)
def test_what_makes_no_sense_is_refused_at_admission(
    plane: ControlPlane, namespace: str, demand: Any, objective: dict[str, str], gpus: dict[str, Any], words: str
) -> None:
    document = service(namespace, demand, objective={"latency": "4s", **objective}, gpus=gpus)
    answer = plane.apply(document, check=False)
    assert bool(answer.returncode) is bool(words)
    assert words in answer.stderr
