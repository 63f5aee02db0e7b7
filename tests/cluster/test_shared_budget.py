"""Two services of one pool on a real control plane, with the GPUs of both watched."""

from __future__ import annotations

from typing import Any

from cluster_documents import profile, service
from control_plane import ControlPlane, wait_for
from hadis.api.resources import API_VERSION
from queries import WAIT_S, BudgetWatch, condition


def pool(namespace: str, gpus: int) -> dict[str, Any]:
    """Return the pool `all`."""
    meta = {"name": "all", "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": "GpuPool", "metadata": meta, "spec": {"gpus": gpus}}


def held(plane: ControlPlane, namespace: str, name: str) -> int:
    """Return the worker pods of a service that exist."""
    labels = f"hadis.dev/service={name},hadis.dev/component=worker"
    return len(plane.get("pods", "-n", namespace, "-l", labels)["items"])


def test_services_of_a_pool_share_it_and_never_hold_more(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any, budget: BudgetWatch
) -> None:
    start_operator()
    demand.rps = 60.0
    shared: dict[str, Any] = {"gpus": {"max": 6, "pool": "all", "weight": 1}}
    plane.apply(profile(namespace), service(namespace, demand, name="a", **shared))

    def degraded() -> bool:
        return str(condition(plane, namespace, "Degraded", "a")["reason"]) == "PoolNotFound"

    wait_for(degraded, WAIT_S, "the missing pool to be reported")
    assert held(plane, namespace, "a") == 0
    plane.apply(pool(namespace, 6))
    wait_for(lambda: held(plane, namespace, "a") == 6, WAIT_S, "the whole pool to serve one")
    plane.apply(service(namespace, demand, name="b", gpus={"max": 6, "pool": "all", "weight": 2}))
    wait_for(lambda: held(plane, namespace, "b") == 4, WAIT_S, "the other one's share by weight")
    assert held(plane, namespace, "a") == 2

    def status_reported() -> bool:
        status = plane.get("gpool", "all", "-n", namespace).get("status", {})
        return bool(status.get("taken") == 6 and status["services"]["b"] == {"desired": 6, "share": 4, "taken": 4})

    wait_for(status_reported, WAIT_S, "the pool's status")
    plane.kubectl("delete", "dsvc", "b", "-n", namespace)
    wait_for(lambda: held(plane, namespace, "a") == 6, WAIT_S, "what the deleted one held")
    assert budget.most <= 6
