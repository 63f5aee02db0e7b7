"""The router's two sources: the run folder's file, and what the cluster's objects say."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hadis.planning.plan import Plan, TierPlan, plan_document, read_plan
from hadis.protocol.run_state import RunState, WorkerAddress, write_state
from hadis_router.cluster import state_of
from hadis_router.sources import follow_file

PLAN = Plan("light", "heavy", 0.25, 0.5, (TierPlan("light", 1, 4), TierPlan("heavy", 3, 2)), 3.5, 22.5, 0.5, 3.5)


async def test_the_file_is_followed_and_a_broken_one_keeps_the_last_state(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    first = RunState(None, (WorkerAddress("http://a", ("light",)),))
    second = RunState(PLAN, (), 1.5, 2.0)
    write_state(path, first)
    source = follow_file(path)
    async with asyncio.timeout(20):
        assert await anext(source) == first
        path.write_text("{broken")
        await asyncio.sleep(0.1)
        write_state(path, second)
        assert await anext(source) == second
    await source.aclose()  # type: ignore[attr-defined]  # it is a generator


def test_a_plan_survives_the_status() -> None:
    document = plan_document(PLAN)
    assert read_plan(document) == PLAN
    assert json.loads(json.dumps(document)) == document
    with pytest.raises(ValueError, match="no plan"):
        read_plan({"light": "x"})


def make_slice(name: str, pool: str, *addresses: tuple[str, bool]) -> dict[str, Any]:
    endpoints = [{"addresses": [address], "conditions": {"ready": ready}} for address, ready in addresses]
    labels = {"hadis.dev/service": "images", "hadis.dev/pool": pool, "hadis.dev/component": "worker"}
    return {"metadata": {"name": name, "labels": labels}, "endpoints": endpoints, "ports": [{"port": 8100}]}


def test_ready_endpoints_are_workers_with_their_pools_tiers() -> None:
    slices = {
        "a": make_slice("a", "ALL", ("10.0.0.1", True), ("10.0.0.2", False)),
        "b": make_slice("b", "heavy", ("10.0.0.3", True), ("fd00::1", True)),
        "d": make_slice("d", "gone", ("10.0.0.8", True)),
        "e": {"metadata": {"name": "e"}, "endpoints": None},
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
