"""Questions that the cluster tests ask the API server, and a watch over the GPU budget."""

from __future__ import annotations

from typing import Any

from control_plane import ControlPlane, wait_for
from pod_events import PodEvents, gpus_of

WAIT_S = 40.0


def is_ready(pod: dict[str, Any]) -> bool:
    """Return whether a pod is ready and stays."""
    conditions = pod.get("status", {}).get("conditions", [])
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def status(plane: ControlPlane, namespace: str, name: str = "images") -> dict[str, Any]:
    reported: dict[str, Any] = plane.get("dsvc", name, "-n", namespace).get("status", {})
    return reported


def condition(plane: ControlPlane, namespace: str, kind: str, name: str = "images") -> dict[str, Any]:
    by_type = {c["type"]: c for c in status(plane, namespace, name)["conditions"]}
    reported: dict[str, Any] = by_type[kind]
    return reported


def workers(plane: ControlPlane, namespace: str) -> dict[str, int]:
    """Return the ready workers by pool."""
    counts: dict[str, int] = {}
    for pod in plane.get("pods", "-n", namespace, "-l", "hadis.dev/component=worker")["items"]:
        if is_ready(pod):
            pool = pod["metadata"]["labels"]["hadis.dev/pool"]
            counts[pool] = counts.get(pool, 0) + 1
    return counts


def settled(plane: ControlPlane, namespace: str) -> dict[str, int]:
    """Wait until the plan is applied; return the workers by pool."""

    def done() -> bool:
        return condition(plane, namespace, "PlanApplied")["status"] == "True" and bool(workers(plane, namespace))

    wait_for(done, WAIT_S, "the plan to be applied")
    return workers(plane, namespace)


def names_of(plane: ControlPlane, namespace: str) -> set[str]:
    pods = plane.get("pods", "-n", namespace, "-l", "hadis.dev/component=worker")["items"]
    return {pod["metadata"]["name"] for pod in pods}


class BudgetWatch:
    """Watches every worker pod of a namespace; remembers the most GPUs held and the fewest ready."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self._pods: dict[str, tuple[int, bool]] = {}
        self.most, self.least_ready = 0, 0
        self._events = PodEvents(plane, self._seen, namespace)

    def _seen(self, event: str, pod: dict[str, Any]) -> None:
        uid = pod["metadata"]["uid"]
        if event == "DELETED":
            self._pods.pop(uid, None)
        else:
            self._pods[uid] = gpus_of(pod), is_ready(pod)
        self.most = max(self.most, sum(gpus for gpus, _ in self._pods.values()))
        self.least_ready = min(self.least_ready, sum(ready for _, ready in self._pods.values()))

    def close(self) -> None:
        self._events.close()
