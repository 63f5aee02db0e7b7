"""The scale subresource of a DiffusionService: what kubectl and autoscalers read and set is its GPU budget."""

from __future__ import annotations

import json
from typing import Any

from cluster_documents import profile, service
from control_plane import ControlPlane, wait_for
from queries import WAIT_S, names_of, settled


def test_kubectl_and_autoscalers_see_the_workers_and_set_the_budget(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    start_operator()
    demand.rps = 40.0
    plane.apply(profile(namespace), service(namespace, demand, gpus={"max": 6}))
    settled(plane, namespace)
    path = f"/apis/hadis.dev/v1alpha1/namespaces/{namespace}/diffusionservices/images/scale"

    def scale() -> dict[str, Any]:
        subresource: dict[str, Any] = json.loads(plane.kubectl("get", "--raw", path).stdout)
        return subresource

    wait_for(lambda: scale()["status"]["replicas"] == len(names_of(plane, namespace)) > 2, WAIT_S, "the workers")
    assert scale()["spec"]["replicas"] == 6
    selected = plane.kubectl("get", "pods", "-n", namespace, "-o", "name", "-l", scale()["status"]["selector"]).stdout
    assert {name.removeprefix("pod/") for name in selected.split()} == names_of(plane, namespace)
    plane.kubectl("scale", "dsvc/images", "-n", namespace, "--replicas=2")
    wait_for(lambda: scale()["status"]["replicas"] == 2 == len(names_of(plane, namespace)), WAIT_S, "two workers")
    assert plane.get("dsvc", "images", "-n", namespace)["spec"]["gpus"]["max"] == 2
    plane.apply(service(namespace, demand, gpus={"min": 2, "max": 2}))
    refused = plane.kubectl("scale", "dsvc/images", "-n", namespace, "--replicas=1", check=False)
    assert "min must not be over max" in refused.stderr
    plane.apply(autoscaler(namespace))

    def able() -> bool:
        conditions = plane.get("hpa", "budget", "-n", namespace)["status"]["conditions"]
        return any(c["type"] == "AbleToScale" and c["reason"] == "SucceededGetScale" for c in conditions)

    wait_for(able, WAIT_S, "the autoscaler to read the scale")


def autoscaler(namespace: str) -> dict[str, Any]:
    target = {"apiVersion": "hadis.dev/v1alpha1", "kind": "DiffusionService", "name": "images"}
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "budget", "namespace": namespace},
        "spec": {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 4, "metrics": [metric]},
    }
