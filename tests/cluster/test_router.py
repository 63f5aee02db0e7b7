"""The router's source against a real API server, with the rights that the operator gives it."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from cluster_documents import profile, service
from control_plane import ControlPlane, wait_for
from hadis_router.plan_from_kubernetes import follow_cluster


async def test_the_router_follows_plan_workers_and_other_routers(
    plane: ControlPlane, namespace: str, start_operator: Any, demand: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_operator()
    plane.apply(profile(namespace), service(namespace, demand, router={"replicas": 2}))
    await asyncio.to_thread(
        wait_for, lambda: plane.get("dsvc", "images", "-n", namespace)["status"]["plan"]["active"], 40, "a plan"
    )
    config = await asyncio.to_thread(plane.account_config, namespace, "images-router")
    monkeypatch.setitem(os.environ, "KUBECONFIG", str(config))
    monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    source = follow_cluster(namespace, "images", ["light", "heavy"])
    async with asyncio.timeout(60):
        async for state in source:
            if state.plan is not None and state.workers and len(state.routers) == 2:
                break
        assert {tier for worker in state.workers for tier in worker.tiers} <= {"light", "heavy"}
        demand.rps = 30.0
        before = state
        async for state in source:
            if len(state.workers) > len(before.workers) and state.plan != before.plan:
                break
    await source.aclose()  # type: ignore[attr-defined]  # it is a generator
