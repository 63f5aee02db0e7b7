"""Questions that the cluster tests ask the API server, and a watch over the GPU budget."""

from __future__ import annotations

import json
import subprocess
import threading
from typing import Any

from binaries import binary
from control_plane import ControlPlane, wait_for

WAIT_S = 40.0


def is_ready(pod: dict[str, Any]) -> bool:
    """Return whether a pod is ready and stays."""
    conditions = pod.get("status", {}).get("conditions", [])
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def status(plane: ControlPlane, namespace: str, name: str = "images") -> dict[str, Any]:
    found: dict[str, Any] = plane.get("dsvc", name, "-n", namespace).get("status", {})
    return found


def condition(plane: ControlPlane, namespace: str, kind: str, name: str = "images") -> dict[str, Any]:
    by_type = {c["type"]: c for c in status(plane, namespace, name)["conditions"]}
    found: dict[str, Any] = by_type[kind]
    return found


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
    found = plane.get("pods", "-n", namespace, "-l", "hadis.dev/component=worker")["items"]
    return {pod["metadata"]["name"] for pod in found}


class BudgetWatch:
    """Watches every worker pod of a namespace; remembers the most that existed and the fewest that were ready."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        command = [
            str(binary("kubectl")),
            "--kubeconfig",
            str(plane.kubeconfig),
            "get",
            "pods",
            "-n",
            namespace,
            "-l",
            "hadis.dev/component=worker",
            "--watch",
            "-o",
            "json",
            "--output-watch-events",
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self._pods: dict[str, bool] = {}
        self.most, self.least_ready = 0, 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout
        decoder, text = json.JSONDecoder(), ""
        for line in self._process.stdout:
            text += line
            try:
                event, end = decoder.raw_decode(text.lstrip())
            except ValueError:
                continue
            text = text.lstrip()[end:]
            uid = event["object"]["metadata"]["uid"]
            if event["type"] == "DELETED":
                self._pods.pop(uid, None)
            else:
                self._pods[uid] = is_ready(event["object"])
            self.most = max(self.most, len(self._pods))
            self.least_ready = min(self.least_ready, sum(self._pods.values()))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()
