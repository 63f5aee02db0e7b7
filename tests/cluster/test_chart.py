"""The chart on a real API server: lint, every value set, install, upgrade, uninstall."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster_documents import profile, service
from control_plane import CHART, ControlPlane, Release, wait_for
from queries import names_of, settled
from fakes import Demand


def test_the_chart_is_clean(plane: ControlPlane) -> None:
    plane.helm("lint", "--strict", str(CHART))
    plane.helm("lint", "--strict", str(CHART), "-f", str(CHART / "ci/all.yaml"))


@pytest.mark.parametrize("values", sorted(path.name for path in (CHART / "ci").iterdir()))
def test_every_value_set_is_templated(plane: ControlPlane, values: str) -> None:
    text = plane.helm("template", "x", str(CHART), "-n", "ns", "-f", str(CHART / "ci" / values)).stdout
    assert "kind: Deployment" in text


@pytest.mark.parametrize("bad", ["image.pullPolicy=Sometimes", "watchNamespaces=team", "crds.enable=true"])
def test_wrong_values_are_refused(plane: ControlPlane, bad: str) -> None:
    assert plane.helm("template", "x", str(CHART), "--set", bad, check=False).returncode != 0


def test_install_upgrade_uninstall(plane: ControlPlane, namespace: str) -> None:
    options = ("-n", namespace, "--set", "crds.enabled=false", "--set", f"watchNamespaces={{{namespace}}}")
    out = plane.helm("install", "hadis", str(CHART), *options).stdout
    assert "curl -s http" in out.strip().splitlines()[-1]
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
            asked = [uri for _, uri in plane.requests_of(each)]
            assert asked
            assert not [uri for uri in asked if f"/namespaces/{never}/" in uri]
    finally:
        for release in releases:
            release.end()
        plane.kubectl("delete", "namespace", other, "--wait=false")
