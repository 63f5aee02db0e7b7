"""The router's source in Kubernetes: the plan from the service's status, workers and routers from EndpointSlices."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from hadis.api.crd import GROUP, VERSION
from hadis.kube.client import Kube, Object, connect
from hadis.planning.idle import NO_WORKER_REASONS
from hadis.planning.plan import Plan, read_plan
from hadis.planning.rollout import Canary, read_canary
from hadis.protocol.address import http_url
from hadis.protocol.labels import COMPONENT, EVERY_TIER, POOL, SERVICE, label, resident_tiers
from hadis.protocol.run_state import PlanChange, RunState, WorkerAddress

log = logging.getLogger(__name__)


async def follow_cluster(
    namespace: str, name: str, tiers: Sequence[str], remote: Collection[str] = ()
) -> AsyncIterator[RunState]:
    """Yield the state at first and on each change of the service's status, or of its workers or routers that are ready.

    `tiers` are those of the profile that this router was started with; `remote` are those of them that endpoints make.
    """
    kube = Kube(await connect())
    changed = asyncio.Event()
    services: dict[str, Object] = {}
    slices: dict[str, Object] = {}

    async def follow(cache: dict[str, Object], path: str, **query: str) -> None:
        async for objects in kube.follow(path, **query):
            cache.clear()
            cache.update(objects)
            changed.set()

    services_path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/diffusionservices"
    slices_path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    # Not a TaskGroup: this is a generator, which may be closed while it waits at its yield.
    tasks = [
        asyncio.create_task(follow(services, services_path, fieldSelector=f"metadata.name={name}")),
        asyncio.create_task(follow(slices, slices_path, labelSelector=f"{COMPONENT},{SERVICE}={label(name)}")),
    ]
    last: RunState | None = None
    try:
        while True:
            await changed.wait()
            changed.clear()
            state = state_of(services, slices, tiers, remote)
            if state is not None and state != last:
                last = state
                yield state
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await kube.close()


def state_of(
    services: Mapping[str, Object], slices: Mapping[str, Object], tiers: Sequence[str], remote: Collection[str] = ()
) -> RunState | None:
    """Return plan and workers by the objects in the cache; None before the service is in it."""
    service = next(iter(services.values()), None)
    if service is None:
        return None
    status = service.get("status", {})
    demand = status.get("demand", {})
    observed, forecast = demand.get("observedRps", 0.0), demand.get("forecastRps", 0.0)
    changes = tuple(
        PlanChange(datetime.fromisoformat(change["time"]).timestamp(), change["summary"], change["reason"])
        for change in status.get("changes", [])
    )
    return RunState(
        plan=_plan(status, tiers),
        workers=tuple(_workers(_of(slices, "worker"), tiers, remote)),
        observed_rps=observed,
        forecast_rps=forecast,
        changes=changes,
        idle=_idle(status),
        start_s=status.get("startSeconds"),
        routers=tuple(sorted({url for slice_ in _of(slices, "router") for url in _ready_urls(slice_)})),
        canary=_canary(status),
    )


def _idle(status: Mapping[str, Any]) -> str:
    told = [each for each in status.get("conditions", []) if each["type"] == "Idle"]
    return next((str(each["message"]) for each in told if each["reason"] in NO_WORKER_REASONS), "")


def _plan(status: Mapping[str, Any], tiers: Sequence[str]) -> Plan | None:
    document = status.get("plan", {}).get("active")
    if not document:
        return None
    try:
        plan = read_plan(document)
    except ValueError as error:
        log.warning("the status holds no plan that can be read; the last one stays in force: %s", error)
        return None
    # After a profile is replaced, the plan may name tiers that only the routers of the next rollout know.
    return plan if {plan.light, plan.heavy} <= set(tiers) else None


def _canary(status: Mapping[str, Any]) -> Canary | None:
    document = status.get("canary")
    try:
        return read_canary(document) if document else None
    except ValueError as error:
        log.warning("the new profile is not tried: %s", error)
        return None


def _of(slices: Mapping[str, Object], component: str) -> list[Object]:
    return [s for s in slices.values() if s["metadata"].get("labels", {}).get(COMPONENT) == component]


def _workers(slices: Iterable[Object], tiers: Sequence[str], remote: Collection[str]) -> list[WorkerAddress]:
    by_url: dict[str, WorkerAddress] = {}
    for slice_ in slices:
        resident = resident_tiers(slice_["metadata"]["labels"].get(POOL, EVERY_TIER), tiers, remote)
        for url in _ready_urls(slice_) if resident else ():
            by_url[url] = WorkerAddress(url, resident)
    return [by_url[url] for url in sorted(by_url)]


def _ready_urls(slice_: Object) -> list[str]:
    ports, endpoints = slice_.get("ports") or [], slice_.get("endpoints") or []
    ready = [endpoint for endpoint in endpoints if endpoint.get("conditions", {}).get("ready")]
    return [http_url(endpoint["addresses"][0], ports[0]["port"]) for endpoint in ready if ports]
