"""The CRDs upgraded while services are stored as an older version knew them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from cluster_documents import profile, service
from control_plane import ROOT, ControlPlane, wait_for
from queries import WAIT_S, BudgetWatch, condition, names_of, settled, workers

CRD: dict[str, Any] = yaml.safe_load((ROOT / "crds/diffusionservices.yaml").read_text())
GONE = "former"
"""A field that an older version had in a service's spec, its GPUs and its status."""


def older() -> dict[str, Any]:
    """Return a CRD that has the field, and any time for planEvery."""
    crd = copy.deepcopy(CRD)
    parts = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    spec = parts["spec"]["properties"]
    for part in (parts["spec"], spec["gpus"], parts["status"]):
        part["properties"][GONE] = {"type": "string"}
    del spec["planEvery"]["x-kubernetes-validations"]
    return crd


def put(plane: ControlPlane, crd: dict[str, Any]) -> None:
    """Apply the CRD; wait until the API server goes by it."""
    plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=yaml.safe_dump(crd))
    has_field = GONE in crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    shown = f"dsvc.spec.{GONE}"
    wait_for(lambda: (plane.kubectl("explain", shown, check=False).returncode == 0) is has_field, WAIT_S, "the CRD")


@pytest.fixture
def restored(plane: ControlPlane) -> Iterator[None]:
    """Leave the CRD as other tests need it."""
    yield
    put(plane, CRD)


def test_services_of_an_older_crd_go_on_under_the_new_one(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any, budget: BudgetWatch, restored: None
) -> None:
    start_operator()
    demand.rps = 2.0
    plane.apply(profile(namespace), service(namespace, demand))
    settled(plane, namespace)
    pods = names_of(plane, namespace)

    put(plane, older())
    mine = service(namespace, demand, former="a")
    mine["spec"]["gpus"][GONE] = "b"
    plane.apply(mine, service(namespace, demand, name="hasty", planEvery="1ms"))
    patch = json.dumps({"status": {GONE: "c"}})
    plane.kubectl("patch", "dsvc", "images", "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
    # As where another release has the CRDs, and is upgraded later than this operator.
    wait_for(lambda: condition(plane, namespace, "Degraded")["reason"] == "InvalidSpec", WAIT_S, "the unknown field")
    assert f"{GONE}: unknown field" in condition(plane, namespace, "Degraded")["message"]
    assert condition(plane, namespace, "Ready")["status"] == "True"
    assert names_of(plane, namespace) == pods

    put(plane, CRD)
    wait_for(lambda: condition(plane, namespace, "Degraded")["reason"] != "InvalidSpec", WAIT_S, "the field to be gone")
    demand.rps = 40.0
    wait_for(lambda: workers(plane, namespace).get("light", 0) >= 4, 90, "the workers to follow the demand")
    stored = plane.get("dsvc", "images", "-n", namespace)
    assert not any(GONE in part for part in (stored["spec"], stored["spec"]["gpus"], stored["status"]))
    # What is stored against a newer rule is reported, and mended by whoever wrote it.
    assert "planEvery: write a time from 500ms" in condition(plane, namespace, "Degraded", "hasty")["message"]
    plane.apply(service(namespace, demand, gpus={"max": 6}), service(namespace, demand, name="hasty", mode="Paused"))
    wait_for(lambda: condition(plane, namespace, "PlanApplied", "hasty")["reason"] == "Paused", WAIT_S, "the mended")
    server_side = yaml.safe_dump(service(namespace, demand))
    plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=server_side)
    assert budget.most <= 8
