"""The router's source in Kubernetes: the plan from the service's status, workers and routers from EndpointSlices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from typing import TypeVar

from hadis.api.crd import GROUP, VERSION
from hadis.api.status import ServiceStatus
from hadis.kube.client import Kube, Object, connect
from hadis.kube.views import EndpointSliceView, endpoint_slice_view, service_status
from hadis.planning.idle import idle_message
from hadis.planning.plan import Plan
from hadis.planning.readings import ratios_of
from hadis.protocol.labels import COMPONENT, SERVICE, label, resident_tiers
from hadis.protocol.run_state import RunState, WorkerAddress

View = TypeVar("View")


async def follow_cluster(
    namespace: str, name: str, tiers: Sequence[str], remote: Collection[str] = ()
) -> AsyncIterator[RunState]:
    """Yield the state at first and on each change of the service's status, or of its workers or routers that are ready.

    `tiers` are those of the profile that this router was started with; `remote` are those of them that endpoints make.
    """
    kube = Kube(await connect())
    changed = asyncio.Event()
    services: dict[str, ServiceStatus] = {}
    slices: dict[str, EndpointSliceView] = {}

    async def follow(cache: dict[str, View], view: Callable[[Object], View], path: str, **query: str) -> None:
        async for objects in kube.follow(path, **query):
            views = {name: view(item) for name, item in objects.items()}
            cache.clear()
            cache.update(views)
            changed.set()

    services_path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/diffusionservices"
    slices_path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    selector = f"{COMPONENT},{SERVICE}={label(name)}"
    # Not a TaskGroup: this is a generator, which may be closed while it waits at its yield.
    tasks = [
        asyncio.create_task(follow(services, service_status, services_path, fieldSelector=f"metadata.name={name}")),
        asyncio.create_task(follow(slices, endpoint_slice_view, slices_path, labelSelector=selector)),
    ]
    last: RunState | None = None
    try:
        while True:
            await changed.wait()
            changed.clear()
            status = next(iter(services.values()), None)
            if status is None:  # not seen yet
                continue
            state = state_of(status, slices.values(), tiers, remote)
            if state != last:
                last = state
                yield state
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await kube.close()


def state_of(
    status: ServiceStatus, slices: Iterable[EndpointSliceView], tiers: Sequence[str], remote: Collection[str] = ()
) -> RunState:
    """Return plan and workers by the service's status and the EndpointSlices in the cache."""
    slices = list(slices)
    return RunState(
        plan=_known(status.plan.active, tiers),
        workers=tuple(_workers((each for each in slices if each.component == "worker"), tiers, remote)),
        observed_rps=status.demand.observed_rps,
        forecast_rps=status.demand.forecast_rps,
        changes=status.changes,
        idle=idle_message(status.conditions),
        start_s=status.start_seconds,
        routers=tuple(sorted({url for each in slices if each.component == "router" for url in each.urls})),
        canary=status.canary,
        batch_time_ratios=ratios_of(status.batch_time_ratios),
        profile_hash=status.profile_hash,
    )


def _known(plan: Plan | None, tiers: Sequence[str]) -> Plan | None:
    """Return a plan of tiers that this router has.

    After a profile is replaced, it may be of tiers that only the routers of the next rollout know.
    """
    return plan if plan is not None and {plan.light, plan.heavy} <= set(tiers) else None


def _workers(slices: Iterable[EndpointSliceView], tiers: Sequence[str], remote: Collection[str]) -> list[WorkerAddress]:
    by_url: dict[str, WorkerAddress] = {}
    for each in slices:
        resident = resident_tiers(each.pool, tiers, remote)
        for url in each.urls if resident else ():
            by_url[url] = WorkerAddress(url, resident)
    return [by_url[url] for url in sorted(by_url)]
