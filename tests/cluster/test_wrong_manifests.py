"""Wrong manifests, one change to a right one each: refused by the API server, or reported by a condition within 10 s.

`wrong_manifests.json` holds them: a path and its value, and the words of the refusal (`refused`), the condition that is
false with its reason (`condition`), or that the API server drops the value (`dropped`).
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from cluster_documents import profile, service
from control_plane import ControlPlane, wait_for
from hadis.api.resources import CascadeProfile, DiffusionService

Case = dict[str, Any]
CASES: list[Case] = json.loads(Path(__file__).with_name("wrong_manifests.json").read_text())
REFUSED = [case for case in CASES if "refused" in case]
REPORTED = [case for case in CASES if "condition" in case]
MODELS: dict[str, type[DiffusionService] | type[CascadeProfile]] = {
    "DiffusionService": DiffusionService,
    "CascadeProfile": CascadeProfile,
}
REPORTED_S = 10.0
WRONG_IN_KUBERNETES_ALONE = {"model /etc", "gpus.max '2'"}
"""On one machine a folder may be anywhere, and a number written as text is read."""


class NoDemand:
    """An address where no Prometheus is."""

    address = "http://127.0.0.1:1"


def documents(case: Case, namespace: str, name: str, demand: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a profile and a service that names it, of which one is wrong."""
    right = profile(namespace, name), service(namespace, demand, name, profile=name, gpus={"max": 2})
    wrong = copy.deepcopy(right)
    [changed] = [document for document in wrong if document["kind"] == case["kind"]]
    *way, last = [int(part) if part.isdigit() else part for part in case["path"].split(".")]
    at: Any = changed
    for part in way:
        at = at[part] if isinstance(part, int) else at.setdefault(part, {})
    if case.get("remove"):
        del at[last]
    elif case["path"] == "spec":
        at[last] = right[1]["spec"] | case["value"] | {"profile": name}
    else:
        at[last] = case["value"]
    return wrong


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case["case"])
def test_the_api_server_refuses_it_and_so_does_the_model(plane: ControlPlane, case: Case) -> None:
    [wrong] = [d for d in documents(case, "default", "wrong", NoDemand()) if d["kind"] == case["kind"]]
    status, answer = plane.create(wrong, dryRun="All", fieldValidation="Strict")
    assert status >= 400, f"admitted: {answer}"
    assert case["refused"] in answer["message"]
    if case["case"] not in WRONG_IN_KUBERNETES_ALONE:
        with pytest.raises(ValueError):
            MODELS[case["kind"]].read(wrong)


def test_what_no_rule_can_say_a_condition_tells(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any
) -> None:
    start_operator()
    plane.apply(profile(namespace), service(namespace, demand, gpus={"max": 0}))
    wait_for(lambda: "conditions" in plane.get("dsvc", "images", "-n", namespace)["status"], 40, "the operator")
    demand.rps = 1.0
    names = {f"wrong-{number}": case for number, case in enumerate(REPORTED)}
    plane.apply(*(each for name, case in names.items() for each in documents(case, namespace, name, demand)))

    def unreported() -> list[Any]:
        items = {item["metadata"]["name"]: item for item in plane.get("dsvc", "-n", namespace)["items"]}
        false = {
            name: [(c["type"], c["reason"]) for c in items[name].get("status", {}).get("conditions", ()) if false_of(c)]
            for name in names
        }
        return [(case, false[name]) for name, case in names.items() if tuple(case["condition"]) not in false[name]]

    def false_of(condition: dict[str, Any]) -> bool:
        return bool(condition["status"] == "False" and condition["message"])

    left: list[Any] = []

    def all_reported() -> bool:
        left[:] = unreported()
        return not left

    try:
        wait_for(all_reported, REPORTED_S, "every condition")
    except AssertionError:
        raise AssertionError(f"not reported within {REPORTED_S:g} s: {left}") from None


@pytest.mark.parametrize("case", [c for c in CASES if "dropped" in c], ids=lambda case: case["case"])
def test_a_status_that_is_applied_is_dropped(plane: ControlPlane, case: Case) -> None:
    _, wrong = documents(case, "default", "wrong", NoDemand())
    status, answer = plane.create(wrong, dryRun="All", fieldValidation="Strict")
    assert status < 300
    assert case["value"] not in (answer.get("status"), None)
