"""What a team may add to pods, what of them is the operator's own, and that the budget counts GPUs."""

from __future__ import annotations

from typing import Any

import pytest
from hadis.api.resources import Gpus, ServiceSpec
from hadis.cli.gpus import assign

SPEC = {"profile": "two", "objective": {"latency": "4s"}, "gpus": {"max": 7, "min": 3}}


def template(**spec: Any) -> dict[str, Any]:
    return {"podTemplate": {"spec": spec}}


def container(**fields: Any) -> dict[str, Any]:
    return template(containers=[{"name": "worker", **fields}])


@pytest.mark.parametrize("part", ["router", "worker"])
@pytest.mark.parametrize(
    "fields",
    [
        {"env": [{"name": "A", "value": ""}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]},
        {"envFrom": [{"secretRef": {"name": "s", "optional": True}, "prefix": "P_"}]},
        {"volumes": [{"name": "v", "csi": {"driver": "d"}}], "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
        {"topologySpreadConstraints": [{"topologyKey": "zone", "minDomains": 2}]},
        template(containers=[{"name": "sidecar", "ports": [{"containerPort": 9000, "name": "admin"}]}]),
        template(containers=[{"name": "sidecar", "env": [{"name": "HADIS_WORKER_PORT", "value": "1"}]}]),
        template(securityContext=None, volumes=[{"name": "v", "$patch": "delete"}]),
    ],
)
def test_teams_add_what_they_need(part: str, fields: dict[str, Any]) -> None:
    ServiceSpec.read(SPEC | {part: fields})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"env": [{"name": "HADIS_WORKER_TIERS", "value": "a"}]}, "env: HADIS_WORKER_TIERS is the operator's own"),
        ({"env": [{"name": "A"}, {"name": "A"}]}, "env: A stands twice"),
        ({"env": [{"name": "A", "value": "a", "valueFrom": {"x": {}}}]}, "write value or valueFrom, not both"),
        ({"envFrom": [{"prefix": "A"}]}, "write one of configMapRef and secretRef"),
        ({"volumes": [{"name": "models", "emptyDir": {}}]}, "volumes: models is the operator's own"),
        ({"volumeMounts": [{"name": "v", "mountPath": "/models"}]}, "volumeMounts: /models is the operator's own"),
        ({"podLabels": {"hadis.dev/service": "b"}}, "podLabels: hadis.dev/service is the operator's own"),
        ({"podLabels": {"app.kubernetes.io/name": "b"}}, "podLabels: app.kubernetes.io/name is the operator's own"),
        ({"podTemplate": {"metadata": {"labels": {"hadis.dev/pool": "b"}}}}, "podTemplate.metadata.labels: hadis.dev/"),
        ({"podTemplate": {"metadata": {"name": "b"}}}, "podTemplate.metadata.name: unknown field"),
        ({"affinity": {"nodeAffinty": {}}}, "did you mean 'nodeAffinity'?"),
        (container(ports=[{"containerPort": 1}]), "containers.worker.ports: are the operator's own"),
        (container(env=[{"name": "HF_HOME", "value": "/x"}]), "worker.env: HF_HOME is the operator's own"),
        (container(env=None), "worker.env: would take away what the worker needs"),
        (container(volumeMounts=[{"mountPath": "/tmp", "name": "v"}]), "worker.volumeMounts: /tmp is the operator's"),
        (container(resources={"limits": {"nvidia.com/gpu": "4"}}), "nvidia.com/gpu is counted by gpusPerWorker"),
        (container(resources={"claims": [{"name": "g"}]}), "claims are those of resourceClaims"),
        (container(resources=4), "worker.resources: write an object"),
        (container(**{"$patch": "delete"}), "$patch would take away what the worker needs"),
        (template(**{"$patch": "replace"}), "$patch would replace the pod"),
        (template(containers=None), "podTemplate.spec.containers: null would take away"),
        (
            template(containers=[{"image": "x"}]),
            "podTemplate.spec.containers: write a list of objects, each with its name",
        ),
        (template(containers={"worker": {}}), "podTemplate.spec.containers: write a list of objects"),
        (template(initContainers=[{"name": "a", "env": ["B"]}]), "initContainers.a.env: write a list of objects"),
        (template(volumes=[{"name": "manifest", "emptyDir": {}}]), "volumes: manifest is the operator's own"),
        (template(resourceClaims=[{"name": "a"}]), "write spec.worker.resourceClaims, which is counted"),
        (
            template(containers=[{"name": "sidecar", "ports": [{"containerPort": 1, "name": "http"}]}]),
            "sidecar.ports: the name http is that of the worker's port",
        ),
        (
            template(initContainers=[{"name": "a", "resources": {"requests": {"nvidia.com/gpu": 1}}}]),
            "initContainers.a.resources: nvidia.com/gpu is counted",
        ),
    ],
)
def test_what_is_the_operators_own_is_refused_in_words(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as refused:
        ServiceSpec.read(SPEC | {"worker": fields})
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("each", "bounds"), [(1, Gpus(min=3, max=7)), (2, Gpus(min=2, max=3)), (7, Gpus(min=1, max=1)), (8, Gpus(max=0))]
)
def test_workers_are_the_gpus_divided_by_what_one_takes(each: int, bounds: Gpus) -> None:
    assert ServiceSpec.read(SPEC | {"worker": {"gpusPerWorker": each}}).worker_bounds == bounds


def test_a_worker_on_one_machine_gets_as_many_gpus_as_it_takes() -> None:
    assert assign(["a", "b", "c", "d", "e"], 2, 2) == ("a,b", "c,d")
    with pytest.raises(
        ValueError, match="3 workers, but this machine has 5 GPUs: each worker takes 2; use --workers 2"
    ):
        assign(["a", "b", "c", "d", "e"], 3, 2)
    with pytest.raises(ValueError, match=r"use a smaller worker\.gpusPerWorker"):
        assign(["a", "b"], 1, 4)
