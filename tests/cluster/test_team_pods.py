"""Pods as a team wants them, on a real API server: they run, nothing is written at rest, and a change rolls them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from cluster_documents import profile, service
from control_plane import ControlPlane, wait_for
from queries import WAIT_S, BudgetWatch, condition, settled, status

FIELDS: dict[str, Any] = {
    "env": [
        {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "HF_TOKEN"}}},
        {"name": "EMPTY", "value": ""},
    ],
    "envFrom": [{"configMapRef": {"name": "proxy", "optional": True}}],
    "volumes": [{"name": "ca", "configMap": {"name": "ca", "optional": True}}, {"name": "none", "emptyDir": {}}],
    "volumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}, {"name": "none", "mountPath": "/none"}],
    "podLabels": {"team": "pictures"},
    "podAnnotations": {"a": "b"},
    "priorityClassName": "system-cluster-critical",
    "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {"matchLabels": {"team": "x"}}}}
    ]}},
    "topologySpreadConstraints": [{"topologyKey": "kubernetes.io/hostname"}],
    "serviceAccountName": "pictures",
    "imagePullSecrets": [{"name": "pull"}],
    "podTemplate": {"spec": {"dnsPolicy": "Default", "containers": [{"name": "sidecar", "image": "sidecar:1"}]}},
}  # fmt: skip
GPUS = {"gpusPerWorker": 2, "shmSize": "1024Mi"}


def versions(plane: ControlPlane, namespace: str) -> dict[str, str]:
    items = plane.get("deployments,services,roles,rolebindings,pdb", "-n", namespace)["items"]
    return {f"{i['kind']}/{i['metadata']['name']}": i["metadata"]["resourceVersion"] for i in items}


def worker_pods(plane: ControlPlane, namespace: str) -> list[dict[str, Any]]:
    pods: list[dict[str, Any]] = plane.get("pods", "-n", namespace, "-l", "hadis.dev/component=worker")["items"]
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def test_pods_have_what_the_team_asks_for_and_are_left_alone(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any, budget: BudgetWatch
) -> None:
    plane.kubectl("create", "serviceaccount", "pictures", "-n", namespace)
    start_operator(HADIS_OPERATOR_PROPAGATED_LABELS='["kueue.x-k8s.io/"]')
    demand.rps = 40.0
    document = service(namespace, demand, gpus={"max": 7}, router=FIELDS, worker=FIELDS | GPUS)
    document["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "gpus", "cost": "7"}
    plane.apply(profile(namespace), document)
    settled(plane, namespace)
    wait_for(lambda: status(plane, namespace)["gpus"] == "6 / 6 / 7", WAIT_S, "three workers of two GPUs")
    assert budget.most <= 7
    for pod in worker_pods(plane, namespace):
        labels = pod["metadata"]["labels"]
        assert (labels["team"], labels["kueue.x-k8s.io/queue-name"], labels["hadis.dev/gpus"]) == (
            "pictures",
            "gpus",
            "2",
        )
        assert "cost" not in labels
        assert pod["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "2"}
    time.sleep(3)
    before = versions(plane, namespace)
    time.sleep(4)
    assert versions(plane, namespace) == before, "nothing is written while nothing changes"
    plane.kubectl("label", "dsvc", "images", "-n", namespace, "kueue.x-k8s.io/queue-name=other", "--overwrite")
    wait_for(
        lambda: (
            {p["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] for p in worker_pods(plane, namespace)} == {"other"}
        ),
        60,
        "the workers to get another label",
    )
    change = {"spec": {"worker": {"gpusPerWorker": 1}}}
    plane.kubectl("patch", "dsvc", "images", "-n", namespace, "--type=merge", "-p", json.dumps(change))

    def replaced() -> bool:
        limits = [pod["spec"]["containers"][0]["resources"]["limits"] for pod in worker_pods(plane, namespace)]
        ready, existing, _ = status(plane, namespace)["gpus"].split(" / ")
        return limits == [{"nvidia.com/gpu": "1"}] * len(limits) and int(ready) == int(existing) == len(limits) > 3

    wait_for(replaced, 90, "more workers, of one GPU each")
    assert condition(plane, namespace, "Degraded")["status"] == "False"


@pytest.mark.parametrize(
    ("worker", "words"),
    [
        ({"env": [{"name": "HF_HOME", "value": "/x"}]}, "env: these are the operator's own"),
        ({"env": [{"name": "A", "value": "a", "valueFrom": {"fieldRef": {}}}]}, "write value or valueFrom, not both"),
        ({"envFrom": [{}]}, "write one of configMapRef and secretRef"),
        ({"volumes": [{"name": "models", "emptyDir": {}}]}, "volumes: these are the operator's own"),
        ({"volumeMounts": [{"name": "v", "mountPath": "/tmp"}]}, "volumeMounts: these are the operator's own"),
        ({"podLabels": {"hadis.dev/pool": "x"}}, "podLabels: the operator finds pods by"),
        ({"gpusPerWorker": 0}, "gpusPerWorker"),
    ],
)
def test_what_is_the_operators_own_is_refused_at_admission(
    plane: ControlPlane, namespace: str, demand: Any, worker: dict[str, Any], words: str
) -> None:
    done = plane.apply(service(namespace, demand, worker=worker), check=False)
    assert done.returncode != 0
    assert words in done.stderr


def test_a_template_that_takes_the_port_is_told(
    plane: ControlPlane, namespace: str, demand: Any, start_operator: Any
) -> None:
    start_operator()
    template = {"spec": {"containers": [{"name": "worker", "ports": [{"containerPort": 1}]}]}}
    plane.apply(profile(namespace), service(namespace, demand, worker={"podTemplate": template}))
    ready = wait_for(lambda: condition(plane, namespace, "Ready"), 20, "a condition")
    assert (ready["reason"], "ports: are the operator's own" in ready["message"]) == ("InvalidSpec", True)
