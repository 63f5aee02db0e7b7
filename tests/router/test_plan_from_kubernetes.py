"""The router's source in Kubernetes: what the cluster's objects say."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from documents import plan_document, profile_document
from hadis.api.resources import CascadeProfile
from hadis.api.status import PlanStatus, ServiceStatus
from hadis.planning.plan import Plan, TierPlan, read_plan
from hadis.planning.profile import Profile
from hadis.planning.rollout import canary_of
from hadis.protocol.run_state import RunState, WorkerAddress
from hadis_router.plan_from_kubernetes import state_of
from hypothesis import given
from hypothesis import strategies as st

PLAN = Plan("light", "heavy", 0.25, 0.5, (TierPlan("light", 1, 4), TierPlan("heavy", 3, 2)), 3.5, 22.5, 0.5, 3.5)
PROFILE = Profile(CascadeProfile.read(profile_document()))
CANARY = canary_of(PROFILE, PROFILE, 0.05, PLAN)


@given(direct=st.floats(0, 1), deferral=st.floats(0, 1), quality=st.floats(0.001, 1e6), rps=st.floats(0, 1e6))
def test_a_plan_survives_the_status_unrounded(direct: float, deferral: float, quality: float, rps: float) -> None:
    plan = replace(PLAN, direct_ratio=direct, deferral_ratio=deferral, quality=quality, demand_rps=rps)
    status = ServiceStatus(plan=PlanStatus(active=plan))
    written = json.loads(json.dumps(status.model_dump(mode="json", by_alias=True)))
    assert ServiceStatus.read(written).plan.active == plan
    state = state_of({"images": {"status": written}}, {}, ("light", "heavy"))
    assert state is not None
    assert state.plan == plan


def test_a_new_profile_that_is_tried_reaches_the_router_and_one_that_cannot_be_read_does_not() -> None:
    status = ServiceStatus(plan=PlanStatus(active=PLAN), canary=CANARY)
    written = json.loads(json.dumps(status.model_dump(mode="json", by_alias=True)))
    assert ServiceStatus.read(written).canary == CANARY
    state = state_of({"images": {"status": written}}, {}, ("light", "heavy"))
    assert state is not None and state.canary == CANARY
    del written["canary"]["share"]
    state = state_of({"images": {"status": written}}, {}, ("light", "heavy"))
    assert state is not None and (state.canary, state.plan) == (None, PLAN)


def test_a_plan_document_is_read_in_the_form_that_it_is_written() -> None:
    document = plan_document(replace(PLAN, direct_ratio=0.10625))
    assert read_plan(document).direct_ratio == 0.10625
    assert json.loads(json.dumps(document)) == document
    with pytest.raises(ValueError, match="no plan"):
        read_plan({"light": "x"})


def make_slice(name: str, pool: str, *addresses: tuple[str, bool]) -> dict[str, Any]:
    endpoints = [{"addresses": [address], "conditions": {"ready": ready}} for address, ready in addresses]
    labels = {"hadis.dev/service": "images", "hadis.dev/pool": pool, "hadis.dev/component": "worker"}
    return {"metadata": {"name": name, "labels": labels}, "endpoints": endpoints, "ports": [{"port": 8100}]}


def make_router_slice(*addresses: tuple[str, bool]) -> dict[str, Any]:
    made = make_slice("r", "", *addresses)
    made["metadata"]["labels"] = {"hadis.dev/service": "images", "hadis.dev/component": "router"}
    return made | {"ports": [{"port": 8080}]}


def test_workers_that_keep_every_tier_lack_those_that_endpoints_make() -> None:
    slices = {"a": make_slice("a", "ALL", ("10.0.0.1", True)), "b": make_slice("b", "heavy", ("10.0.0.2", True))}
    state = state_of({"x": {}}, slices, ["light", "heavy"], {"heavy"})
    assert state is not None
    assert [worker.tiers for worker in state.workers] == [("light",), ("heavy",)]


def test_ready_endpoints_are_workers_with_their_pools_tiers() -> None:
    slices = {
        "a": make_slice("a", "ALL", ("10.0.0.1", True), ("10.0.0.2", False)),
        "b": make_slice("b", "heavy", ("10.0.0.3", True), ("fd00::1", True)),
        "d": make_slice("d", "gone", ("10.0.0.8", True)),
        "e": {"metadata": {"name": "e"}, "endpoints": None},
        "f": make_router_slice(("10.0.1.2", True), ("10.0.1.1", True), ("10.0.1.3", False)),
    }
    service = {"status": {"plan": {"active": plan_document(PLAN)}, "demand": {"observedRps": 3, "forecastRps": 4}}}
    state = state_of({"x": service}, slices, ["light", "heavy"])
    assert state == RunState(
        PLAN,
        (
            WorkerAddress("http://10.0.0.1:8100", ("light", "heavy")),
            WorkerAddress("http://10.0.0.3:8100", ("heavy",)),
            WorkerAddress("http://[fd00::1]:8100", ("heavy",)),
        ),
        3,
        4,
        routers=("http://10.0.1.1:8080", "http://10.0.1.2:8080"),
    )


@pytest.mark.parametrize("status", [{}, {"plan": {}}, {"plan": {"active": {"light": "x"}}}])
def test_a_service_without_a_plan_has_none(status: dict[str, Any]) -> None:
    state = state_of({"x": {"status": status}}, {}, ["light", "heavy"])
    assert state == RunState(None, ())


def test_a_plan_of_tiers_that_this_router_does_not_know_is_left_to_the_next_one() -> None:
    service = {"status": {"plan": {"active": plan_document(PLAN)}}}
    assert state_of({"x": service}, {}, ["light"]) == RunState(None, ())


def test_before_the_service_is_seen_nothing_is_said() -> None:
    assert state_of({}, {}, ["light"]) is None
