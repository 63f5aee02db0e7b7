"""The chart on a real API server: lint, every value set, install, upgrade, uninstall."""

from __future__ import annotations

import pytest
from control_plane import CHART, ControlPlane


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
