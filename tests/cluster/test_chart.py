"""The chart: what each value changes; on a real API server: lint, install, upgrade, uninstall."""

from __future__ import annotations

import functools
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from binaries import binary
from cluster_documents import profile, service
from control_plane import CHART, ControlPlane, Release, wait_for
from fakes import Demand
from queries import names_of, settled


def test_the_chart_is_clean(plane: ControlPlane) -> None:
    plane.helm("lint", "--strict", str(CHART))
    plane.helm("lint", "--strict", str(CHART), "-f", str(CHART / "ci/all.yaml"))


def render(tmp_path: Path, values: dict[str, Any]) -> dict[str, str]:
    """Return the chart's manifests with these values, as texts by "Kind/name"."""
    path = tmp_path / "values.json"
    path.write_text(json.dumps(values))
    command = [str(binary("helm")), "template", "x", str(CHART), "-n", "ns", "-f", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    documents = [document for document in yaml.safe_load_all(text) if document]
    return {f"{d['kind']}/{d['metadata']['name']}": yaml.safe_dump(d) for d in documents}


OPERATOR = "Deployment/x-hadis"
CRD = "CustomResourceDefinition/diffusionservices.hadis.dev"
CHANGES: dict[str, tuple[Any, str, str]] = {
    "image.registry": ("example.com/team/", OPERATOR, "image: example.com/team/hadis-operator:"),
    "image.tag": ("nightly", OPERATOR, "value: hadis-worker:nightly"),
    "image.pullPolicy": ("Always", OPERATOR, "imagePullPolicy: Always"),
    "image.pullSecrets": (["pull"], OPERATOR, "imagePullSecrets:\n      - name: pull"),
    "operator.repository": ("our-operator", OPERATOR, "image: our-operator:"),
    "operator.replicas": (2, OPERATOR, "topologyKey: kubernetes.io/hostname"),
    "operator.resources": ({"limits": {"memory": "3Gi"}}, OPERATOR, "memory: 3Gi"),
    "operator.nodeSelector": ({"role": "infra"}, OPERATOR, "nodeSelector:\n        role: infra"),
    "operator.tolerations": ([{"key": "infra"}], OPERATOR, "tolerations:\n      - key: infra"),
    "operator.verbose": (True, OPERATOR, "- --verbose"),
    "router.repository": ("our-router", OPERATOR, "value: our-router:"),
    "worker.repository": ("our-worker", OPERATOR, "value: our-worker:"),
    "worker.allowHostPath": (True, OPERATOR, "name: HADIS_OPERATOR_ALLOW_HOST_PATH\n          value: 'true'"),
    "watchNamespaces": (["team"], OPERATOR, "value: '[\"team\"]'"),
    "propagatedLabels": (["kueue.x-k8s.io/"], OPERATOR, """value: '["kueue.x-k8s.io/"]'"""),
    "crds.enabled": (False, CRD, ""),
    "crds.keep": (False, CRD, "!helm.sh/resource-policy"),
    "prometheus.address": ("http://prometheus:9090", OPERATOR, "value: http://prometheus:9090"),
    "prometheus.serviceMonitor": (True, "ServiceMonitor/x-hadis-services", "any: true"),
    "prometheus.secret": ("access", OPERATOR, "secretName: access"),
    "prometheus.pods": ([{"podLabels": {"app": "agent"}}], OPERATOR, '[{"podLabels":{"app":"agent"}}]'),
    "prometheus.rules": (True, "PrometheusRule/x-hadis", "HadisNoWorker"),
    "prometheus.runbooks": ("https://x", "PrometheusRule/x-hadis", "runbook_url: https://x/alerts/#hadisnoworker"),
    "tracing.endpoint": ("http://collector:4318", OPERATOR, "value: http://collector:4318"),
    "tracing.sampleRatio": (0.25, OPERATOR, "value: '0.25'"),
    "grafana.dashboard": (True, "ConfigMap/x-hadis-dashboard", "grafana_dashboard"),
}
"""Value to (another than its default, the manifest that it changes, what is in that then: "" nothing, "!" not)."""


NEEDS: dict[str, dict[str, Any]] = {"prometheus.runbooks": {"prometheus": {"rules": True}}}
"""Values without which another one changes nothing."""


def leaves(schema: dict[str, Any], root: dict[str, Any], path: str = "") -> set[str]:
    """Return the paths of the values that a schema of the chart knows."""
    schema = root["definitions"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
    if "properties" not in schema:
        return {path}
    parts = schema["properties"].items()
    return {leaf for name, part in parts for leaf in leaves(part, root, f"{path}.{name}".strip("."))}


def test_every_value_is_in_the_schema_and_in_the_defaults_and_is_tried_here() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert leaves(schema, schema) - {"global"} == CHANGES.keys()  # Helm's own, for parent charts
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    for path, (value, _, _) in CHANGES.items():
        default = functools.reduce(lambda values, name: values[name], path.split("."), defaults)
        assert default != value, path


@pytest.mark.parametrize("path", CHANGES)
def test_every_value_changes_its_manifest(tmp_path: Path, path: str) -> None:
    value, manifest, text = CHANGES[path]
    *folders, name = path.split(".")
    values: dict[str, Any] = {name: value}
    for folder in reversed(folders):
        values = {folder: values}
    needed = NEEDS.get(path, {})
    values |= {folder: needed[folder] | values.get(folder, {}) for folder in needed}
    before, after = render(tmp_path, needed).get(manifest, ""), render(tmp_path, values).get(manifest, "")
    assert before != after
    if text.startswith("!"):
        assert text[1:] in before and text[1:] not in after
    else:
        assert text not in before or not text
        assert text in after if text else not after


@pytest.mark.parametrize(
    ("name", "some", "never"),
    [
        ("all.yaml", {"ServiceMonitor/x-hadis", "PrometheusRule/x-hadis", "ConfigMap/x-hadis-dashboard", CRD}, set()),
        ("default.yaml", {OPERATOR, CRD}, {"Role/ns-x-hadis", "ServiceMonitor/x-hadis"}),
        ("namespaces.yaml", {OPERATOR, "Role/ns-x-hadis", "RoleBinding/ns-x-hadis"}, {CRD}),
    ],
)
def test_every_value_set_has_its_manifests(tmp_path: Path, name: str, some: set[str], never: set[str]) -> None:
    assert name in {path.name for path in (CHART / "ci").iterdir()}
    manifests = render(tmp_path, yaml.safe_load((CHART / "ci" / name).read_text()))
    assert some <= manifests.keys()
    assert not never & manifests.keys()


@pytest.mark.parametrize(
    "bad", ["image.pullPolicy=Sometimes", "watchNamespaces=team", "crds.enable=true", "prometheus.address=http://a:b@c"]
)
def test_wrong_values_are_refused(plane: ControlPlane, bad: str) -> None:
    assert plane.helm("template", "x", str(CHART), "--set", bad, check=False).returncode != 0


def test_install_upgrade_uninstall(plane: ControlPlane, namespace: str) -> None:
    options = ("-n", namespace, "--set", "crds.enabled=false", "--set", f"watchNamespaces={{{namespace}}}")
    out = plane.helm("install", "hadis", str(CHART), *options).stdout
    assert "curl -s http" in out
    plane.helm("upgrade", "hadis", str(CHART), *options, "--set", "operator.verbose=true")
    args = plane.get("deployment", "hadis", "-n", namespace)["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--verbose" in args
    plane.helm("uninstall", "hadis", "-n", namespace)
    left = plane.get("deployments,roles,rolebindings,services", "-n", namespace)["items"]
    assert left == []
    assert f"{namespace}-hadis" not in plane.kubectl("get", "clusterroles", "-o", "name").stdout


def test_two_releases_keep_to_their_namespaces(
    plane: ControlPlane, namespace: str, demand: Demand, tmp_path: Path
) -> None:
    other = f"{namespace}-b"
    plane.kubectl("create", "namespace", other)
    spaces = (namespace, other)
    releases = [Release(plane, each, tmp_path / f"{each}.log") for each in spaces]
    try:
        for release, each in zip(releases, spaces, strict=True):
            release.start()
            plane.apply(profile(each), service(each, demand, gpus={"max": 3}))
        for each in spaces:
            settled(plane, each)
        plane.kubectl("delete", "dsvc", "images", "-n", other)
        # Kubernetes' garbage collector takes half a minute to learn of CustomResourceDefinitions that were just made.
        wait_for(lambda: not names_of(plane, other), 90, "the other's workers to go")
        assert settled(plane, namespace)
        for each, never in (spaces, spaces[::-1]):
            uris = [uri for _, uri in plane.requests_of(each)]
            assert uris
            assert not [uri for uri in uris if f"/namespaces/{never}/" in uri]
    finally:
        for release in releases:
            release.end()
        plane.kubectl("delete", "namespace", other, "--wait=false")
