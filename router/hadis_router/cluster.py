"""The router's source in Kubernetes: the plan from the service's status, the workers from its EndpointSlices."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from hadis.api.crd import GROUP, VERSION
from hadis.kube.client import Kube, Object, connect
from hadis.planning.plan import Plan, read_plan
from hadis.protocol.labels import COMPONENT, EVERY_TIER, POOL, SERVICE, label
from hadis.protocol.run_state import PlanChange, RunState, WorkerAddress

log = logging.getLogger(__name__)


async def follow_cluster(namespace: str, name: str, tiers: Sequence[str]) -> AsyncIterator[RunState]:
    """Yield the state at first and on each change of the service's status or of its workers' addresses."""
    kube = Kube(await connect())
    changed = asyncio.Event()
    seen: dict[str, Mapping[str, Object]] = {}

    async def follow(what: str, path: str, **query: str) -> None:
        async for objects in kube.follow(path, **query):
            seen[what] = objects
            changed.set()

    service = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/diffusionservices"
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    # Not a TaskGroup: this is a generator, which may be closed while it waits at its yield.
    tasks = [
        asyncio.create_task(follow("service", service, fieldSelector=f"metadata.name={name}")),
        asyncio.create_task(follow("slices", slices, labelSelector=f"{COMPONENT}=worker,{SERVICE}={label(name)}")),
    ]
    last: RunState | None = None
    try:
        while True:
            await changed.wait()
            changed.clear()
            state = state_of(seen.get("service", {}), seen.get("slices", {}), tiers)
            if state is not None and state != last:
                last = state
                yield state
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await kube.close()


def state_of(services: Mapping[str, Object], slices: Mapping[str, Object], tiers: Sequence[str]) -> RunState | None:
    """Return plan and workers of the objects seen; None before the service has been seen."""
    item = next(iter(services.values()), None)
    if item is None:
        return None
    status = item.get("status", {})
    demand = status.get("demand", {})
    observed, forecast = demand.get("observedRps", 0.0), demand.get("forecastRps", 0.0)
    changes = tuple(
        PlanChange(datetime.fromisoformat(c["time"]).timestamp(), c["summary"], c["reason"])
        for c in status.get("changes", [])
    )
    return RunState(_plan(status, tiers), tuple(_workers(slices, tiers)), observed, forecast, changes)


def _plan(status: Mapping[str, Any], tiers: Sequence[str]) -> Plan | None:
    document = status.get("plan", {}).get("active")
    if not document:
        return None
    try:
        plan = read_plan(document)
    except ValueError as error:
        log.warning("the plan stays as it is: %s", error)
        return None
    # A profile that was just replaced may plan tiers that only the next router knows.
    return plan if {plan.light, plan.heavy} <= set(tiers) else None


def _workers(slices: Mapping[str, Object], tiers: Sequence[str]) -> list[WorkerAddress]:
    found: dict[str, WorkerAddress] = {}
    for item in slices.values():
        pool = item["metadata"].get("labels", {}).get(POOL, EVERY_TIER)
        has = tuple(tiers) if pool == EVERY_TIER else tuple(t for t in tiers if t == pool)
        ports = item.get("ports") or []
        for endpoint in item.get("endpoints") or []:
            if ports and has and endpoint.get("conditions", {}).get("ready"):
                url = f"http://{_host(endpoint['addresses'][0])}:{ports[0]['port']}"
                found[url] = WorkerAddress(url, has)
    return [found[url] for url in sorted(found)]


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
