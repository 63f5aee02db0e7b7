"""The router's source in Kubernetes: what the cluster's objects say."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from documents import plan_document, profile_document
from hadis.api.resources import CascadeProfile
from hadis.api.status import PlanStatus, ServiceStatus
from hadis.kube.views import endpoint_slice_view, service_status
from hadis.planning.plan import Plan, TierPlan
from hadis.planning.profile import Profile
from hadis.planning.rollout import canary_of
from hadis.protocol.run_state import RunState, WorkerAddress
from hadis_router.plan_from_kubernetes import state_of
from hypothesis import given
from hypothesis import strategies as st

PLAN = Plan("light", "heavy", 0.25, 0.5, (TierPlan("light", 1, 4), TierPlan("heavy", 3, 2)), 3.5, 22.5, 0.5, 3.5)
PROFILE = Profile(CascadeProfile.read(profile_document()))
CANARY = canary_of(PROFILE, PROFILE, 0.05, PLAN)


def seen(
    service: Mapping[str, Any],
    slices: Iterable[dict[str, Any]] = (),
    tiers: Sequence[str] = ("light", "heavy"),
    remote: Collection[str] = (),
) -> RunState:
    """Return the state by a cluster's documents."""
    status = service_status({"metadata": {"name": "images"}, **service})
    return state_of(status, map(endpoint_slice_view, slices), tiers, remote)


@given(direct=st.floats(0, 1), deferral=st.floats(0, 1), quality=st.floats(0.001, 1e6), rps=st.floats(0, 1e6))
def test_a_plan_survives_the_status_unrounded(direct: float, deferral: float, quality: float, rps: float) -> None:
    plan = replace(PLAN, direct_ratio=direct, deferral_ratio=deferral, quality=quality, demand_rps=rps)
    status = ServiceStatus(plan=PlanStatus(active=plan))
    written = json.loads(json.dumps(status.model_dump(mode="json", by_alias=True)))
    assert ServiceStatus.read(written).plan.active == plan
    assert seen({"status": written}).plan == plan


def test_a_new_profile_that_is_tried_reaches_the_router_and_one_that_cannot_be_read_does_not() -> None:
    status = ServiceStatus(plan=PlanStatus(active=PLAN), canary=CANARY)
    written = json.loads(json.dumps(status.model_dump(mode="json", by_alias=True)))
    assert ServiceStatus.read(written).canary == CANARY
    assert seen({"status": written}).canary == CANARY
    del written["canary"]["share"]
    state = seen({"status": written})
    assert (state.canary, state.plan) == (None, PLAN)


def test_what_the_operator_learnt_of_batch_times_reaches_routers_that_start() -> None:
    status = ServiceStatus(batch_time_ratios={"heavy": {"1": 1.5, "4": 2.0}}, profile_hash="abc")
    written = json.loads(json.dumps(status.model_dump(mode="json", by_alias=True)))
    state = seen({"status": written})
    assert (state.batch_time_ratios, state.profile_hash) == ({"heavy": {1: 1.5, 4: 2.0}}, "abc")
    assert state.ratios_for("abc") == state.batch_time_ratios
    written["batchTimeRatios"] = {"heavy": {"one": 1.5}}
    assert seen({"status": written}).batch_time_ratios == {}


def make_slice(name: str, pool: str, *addresses: tuple[str, bool]) -> dict[str, Any]:
    endpoints = [{"addresses": [address], "conditions": {"ready": ready}} for address, ready in addresses]
    labels = {"hadis.dev/service": "images", "hadis.dev/pool": pool, "hadis.dev/component": "worker"}
    return {"metadata": {"name": name, "labels": labels}, "endpoints": endpoints, "ports": [{"port": 8100}]}


def make_router_slice(*addresses: tuple[str, bool]) -> dict[str, Any]:
    made = make_slice("r", "", *addresses)
    made["metadata"]["labels"] = {"hadis.dev/service": "images", "hadis.dev/component": "router"}
    return made | {"ports": [{"port": 8080}]}


def test_workers_that_keep_every_tier_lack_those_that_endpoints_make() -> None:
    slices = [make_slice("a", "ALL", ("10.0.0.1", True)), make_slice("b", "heavy", ("10.0.0.2", True))]
    state = seen({}, slices, remote={"heavy"})
    assert [worker.tiers for worker in state.workers] == [("light",), ("heavy",)]


def test_ready_endpoints_are_workers_with_their_pools_tiers() -> None:
    slices = [
        make_slice("a", "ALL", ("10.0.0.1", True), ("10.0.0.2", False)),
        make_slice("b", "heavy", ("10.0.0.3", True), ("fd00::1", True)),
        make_slice("d", "gone", ("10.0.0.8", True)),
        {"metadata": {"name": "e"}, "endpoints": None},
        make_router_slice(("10.0.1.2", True), ("10.0.1.1", True), ("10.0.1.3", False)),
    ]
    service = {"status": {"plan": {"active": plan_document(PLAN)}, "demand": {"observedRps": 3, "forecastRps": 4}}}
    assert seen(service, slices) == RunState(
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


@pytest.mark.parametrize(
    ("item", "left_out"),
    [
        ({}, ""),
        ({"status": {}}, ""),
        ({"status": {"plan": {}}}, ""),
        ({"status": {"plan": {"active": {"light": "x"}}}}, "status.plan of DiffusionService /images"),
        ({"status": {"changes": [{"time": "now"}]}}, "status.changes of DiffusionService /images"),
    ],
)
def test_a_service_without_a_plan_has_none(
    item: dict[str, Any], left_out: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert seen(item) == RunState(None, ())
    assert left_out in caplog.text
    assert bool(caplog.text) is bool(left_out)


@pytest.mark.parametrize("where", ["status", "plan", "active"])
def test_what_a_newer_operator_says_besides_is_no_reason_to_leave_its_plan(where: str) -> None:
    status: dict[str, Any] = {"plan": {"active": plan_document(PLAN)}}
    part = {"status": status, "plan": status["plan"], "active": status["plan"]["active"]}[where]
    part["somethingNew"] = 1
    assert seen({"status": status}).plan == PLAN


def test_a_plan_of_tiers_that_this_router_does_not_know_is_left_to_the_next_one() -> None:
    service = {"status": {"plan": {"active": plan_document(PLAN)}}}
    assert seen(service, tiers=["light"]) == RunState(None, ())
