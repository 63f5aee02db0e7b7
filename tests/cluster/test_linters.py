"""kube-score and kubeconform over the chart and over children: they find nothing but what is said here, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from control_plane import CHART, ControlPlane
from hadis.api.pod_template import MERGE_KEYS
from linted import CLAIMS, EXAMPLES, Manifest, chart, children_of, conforms, scored, write_schemas
from test_team_pods import FIELDS, GPUS

REASONS = {
    "container-resources": "a CPU limit throttles a process that could use idle cores; memory is limited",
    "container-ephemeral-storage-request-and-limit": "how much models take is not known, and the root is read-only",
    "container-image-pull-policy": "IfNotPresent: tags are versions, and nodes start pods without the registry",
    "deployment-replicas": "the plan says how many workers there are; an operator that is away stops no request",
    "deployment-strategy": "Recreate: never more GPUs or operators than may be; the operator replaces workers",
    "pod-networkpolicy": "which pods may call is the cluster's to say; spec.router.allowFromAnywhere: false writes one",
}
"""Of every chart and service: what is left, and why."""
OF_CHART = {
    "pod-probes": "the operator's Service is for scrapes, which need no readiness",
    "pod-probes-identical": "an operator that stands by is ready too, so that a rollout goes on",
}
OF_CHILDREN = {
    "container-security-context-user-group-id": "files of models are shared by fsGroup 10001; the group is the image's",
    "deployment-has-host-podantiaffinity": "spec.router.affinity says it, where there are nodes enough",
}
NOT_OURS = {"ServiceMonitor", "PrometheusRule"}
"""Kinds whose definitions come with the Prometheus operator; kubeconform has no schema of them here."""
WITH_FIELDS: dict[str, Any] = FIELDS | {"worker": GPUS}
MADE = [{}, WITH_FIELDS, {"worker": CLAIMS | {"modelCache": {"claim": "models", "prefetch": True}}}]


def unexplained(manifests: list[Manifest], reasons: dict[str, str]) -> dict[str, set[str]]:
    return {check: objects for check, objects in scored(manifests).items() if check not in reasons}


@pytest.mark.parametrize("values", sorted(path.name for path in (CHART / "ci").iterdir()))
def test_kube_score_finds_nothing_else_in_the_chart(values: str) -> None:
    assert unexplained(chart(CHART / "ci" / values), REASONS | OF_CHART) == {}


@pytest.mark.parametrize("fields", MADE, ids=["plain", "fields", "claims"])
@pytest.mark.parametrize("example", EXAMPLES)
def test_kube_score_finds_nothing_else_in_children(example: str, fields: dict[str, Any]) -> None:
    # The sidecar of these fields is the team's.
    made = children_of(example, **{name: value for name, value in fields.items() if name != "podTemplate"})
    assert unexplained(made, REASONS | OF_CHILDREN) == {}


def test_kube_score_finds_what_is_wrong() -> None:
    made = children_of(EXAMPLES[0])
    [router] = [m for m in made if m["kind"] == "Deployment" and m["metadata"]["name"].endswith("router")]
    router["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = False
    assert "container-security-context-readonlyrootfilesystem" in unexplained(made, REASONS | OF_CHILDREN)


def test_everything_conforms_to_the_api_servers_schemas(plane: ControlPlane, tmp_path: Path) -> None:
    manifests = [m for values in sorted((CHART / "ci").iterdir()) for m in chart(values) if m["kind"] not in NOT_OURS]
    for example in EXAMPLES:
        for fields in MADE:
            manifests += children_of(example, **fields)
    write_schemas(plane, {(m["apiVersion"], m["kind"]) for m in manifests}, tmp_path)
    assert conforms(manifests, tmp_path) == ""
    [wrong, *_] = [m for m in manifests if m["kind"] == "Deployment"]
    wrong["spec"]["template"]["spec"]["nodeSelectr"] = {}
    assert "nodeSelectr" in conforms([wrong], tmp_path)


def test_lists_are_merged_by_what_the_api_server_says(plane: ControlPlane) -> None:
    definitions = json.loads(plane.kubectl("get", "--raw", "/openapi/v2").stdout)["definitions"]
    keys = {}
    for kind in ("PodSpec", "Container"):
        for name, part in definitions[f"io.k8s.api.core.v1.{kind}"]["properties"].items():
            if "x-kubernetes-patch-merge-key" in part:
                keys[name] = part["x-kubernetes-patch-merge-key"]
    assert dict(MERGE_KEYS) == keys
