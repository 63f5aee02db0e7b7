"""Models fetched to a PersistentVolumeClaim: who may write there, how far they are, and why they could not be had."""

from __future__ import annotations

import json
from typing import Any

from cluster_documents import profile, service
from control_plane import ControlPlane, wait_for
from queries import WAIT_S, condition, settled, status
from test_team_pods import worker_pods

WORDS = "hadis_worker: model: 'team/tiny' cannot be used; the hub says 401: Access to model team/tiny is restricted"


def claim(namespace: str) -> list[dict[str, Any]]:
    """Return a claim that many pods can mount, and a volume for it."""
    size = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    volume, room = f"models-{namespace}", {"storage": "1Gi"}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume},
         "spec": size | {"capacity": room, "hostPath": {"path": "/srv"}}},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "models", "namespace": namespace},
         "spec": size | {"resources": {"requests": room}, "volumeName": volume}},
    ]  # fmt: skip


def play_fetch(plane: ControlPlane, namespace: str, pod: str, state: dict[str, Any]) -> None:
    """Have a pod's status say what became of its init container, as a kubelet would."""
    fetch = {"name": "fetch", "image": "i", "imageID": "", "ready": False, "restartCount": 1, "state": state}
    pod_status = {
        "phase": "Pending",
        "conditions": [{"type": "Ready", "status": "False"}],
        "initContainerStatuses": [fetch],
        "containerStatuses": [],
    }
    patch = ("--subresource=status", "--type=strategic", "-p", json.dumps({"status": pod_status}))
    plane.kubectl("patch", "pod", pod, "-n", namespace, *patch)


def test_a_claim_is_written_by_who_fetches_and_read_by_workers_and_both_are_told(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    start_operator()
    demand.rps = 1.0
    cached = {"modelCache": {"claim": "models", "prefetch": True}}
    document = service(namespace, demand, worker=cached, placement="Shared", gpus={"min": 2, "max": 2})
    plane.apply(*claim(namespace), profile(namespace), document)
    assert settled(plane, namespace) == {"ALL": 2}
    pods = worker_pods(plane, namespace)
    for pod in pods:
        [fetch], [worker] = pod["spec"]["initContainers"], pod["spec"]["containers"]
        [written], [read] = ([m for m in each["volumeMounts"] if m["name"] == "models"] for each in (fetch, worker))
        [volume] = [each for each in pod["spec"]["volumes"] if each["name"] == "models"]
        assert volume["persistentVolumeClaim"]["claimName"] == "models"
        assert (written.get("readOnly", False), read.get("readOnly", False)) == (False, True)

    first = pods[0]["metadata"]["name"]
    failed = {"terminated": {"exitCode": 1, "message": f"a line\n{WORDS}\n", "reason": "Error"}}
    play_fetch(plane, namespace, first, failed)
    wait_for(lambda: condition(plane, namespace, "Degraded")["reason"] == "FetchFailed", WAIT_S, "the failure")
    assert WORDS in condition(plane, namespace, "Degraded")["message"]
    assert condition(plane, namespace, "Ready")["reason"] == "Serving"
    events = plane.kubectl("get", "events", "-n", namespace, "--field-selector=type=Warning").stdout
    assert "FetchFailed" in events

    play_fetch(plane, namespace, first, {"running": {"startedAt": "2026-01-01T00:00:00Z"}})
    wait_for(lambda: status(plane, namespace)["fetch"]["pods"] == 1, WAIT_S, "that it is fetched")
    wait_for(lambda: condition(plane, namespace, "Degraded")["status"] == "False", WAIT_S, "that it is well")
