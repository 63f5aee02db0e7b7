"""Runs one reconcile loop per service, woken by events and by its own clock.

Level-triggered: a reconcile looks at everything in the caches and writes what differs, so that it does not matter which
event woke it, or whether the operator was killed in the middle of the one before.
"""

from __future__ import annotations

import asyncio
import logging
import random

import aiohttp
from hadis.kube.client import ApiError, Kube
from hadis.protocol import keep_alive
from hadis.protocol.labels import SERVICE

from hadis_operator import metrics
from hadis_operator.cache import Cache
from hadis_operator.gpu_pools import GpuPools
from hadis_operator.pool_status import write_pool_statuses
from hadis_operator.profile_status import ProfileStatuses
from hadis_operator.reconciler import Reconciler
from hadis_operator.settings import OperatorSettings

log = logging.getLogger(__name__)
_RECONCILE_S = 60.0
_SETTLE_S = 0.05
"""Events come in bursts; they are waited for this long before a reconcile."""
_LONGEST_BACKOFF_S = 30.0
_POOL_STATUS_EVERY_S = 5.0


class Controller:
    """All services of the namespaces that this operator watches."""

    def __init__(self, settings: OperatorSettings, kube: Kube) -> None:
        """Start with nothing seen."""
        self._settings, self._kube = settings, kube
        self.cache = Cache(self._wake, lambda: self._profiles.wake())
        self._profiles = ProfileStatuses(kube, self.cache)
        self._pools = GpuPools(self.cache, self._wake)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._events: dict[str, asyncio.Event] = {}
        self._http: aiohttp.ClientSession | None = None

    async def run(self) -> None:
        """Reconcile the services, compare caches with the API server and tell of pools and profiles, until cancelled.

        Between two runs the caches go on to be filled; what is remembered of services is not.
        """
        connector = aiohttp.TCPConnector(keepalive_timeout=keep_alive.CLIENT_ELSEWHERE_S)  # Prometheus is not ours
        async with aiohttp.ClientSession(connector=connector) as self._http:
            try:
                for service in self.cache.services:
                    self._wake(service)
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._profiles.run())
                    group.create_task(self._resyncs())
                    group.create_task(self._publish_pools())
            finally:
                self._http = None
                await self._stop_loops()

    async def _publish_pools(self) -> None:
        while True:
            await asyncio.sleep(_POOL_STATUS_EVERY_S)
            try:
                await write_pool_statuses(self._kube, self.cache, self._pools)
            except Exception:  # the services are more than what is told of pools
                log.exception("the pools' statuses were not written")

    async def _resyncs(self) -> None:
        while True:
            await asyncio.sleep(self._settings.resync_s * random.uniform(0.8, 1.2))
            for namespace in {name.split("/")[0] for name in self.cache.services}:
                await self._resync(namespace)

    async def _stop_loops(self) -> None:
        tasks = dict(self._tasks)
        self._tasks.clear()
        self._events.clear()
        self._pools = GpuPools(self.cache, self._wake)
        for service, task in tasks.items():
            task.cancel()
            metrics.forget(*service.split("/", 1))
        await asyncio.gather(*tasks.values(), return_exceptions=True)

    async def _resync(self, namespace: str) -> None:
        try:
            for kind, path in (("deployments", "/apis/apps/v1"), ("pods", "/api/v1")):
                listed = await self._kube.list_items(f"{path}/namespaces/{namespace}/{kind}", labelSelector=SERVICE)
                self.cache.replace(kind, namespace, listed)
        except (ApiError, TimeoutError) as error:
            log.warning("resync of %s: %s", namespace, error)
        except Exception:  # the services go on with what their watches tell
            log.exception("resync of %s", namespace)

    def _wake(self, service: str) -> None:
        if self._http is None:
            return  # not running; run() wakes all
        if self.cache.service(service) is not None:
            self._events.setdefault(service, asyncio.Event()).set()
            if service not in self._tasks:
                self._tasks[service] = asyncio.create_task(self._loop(service))
        elif service in self._tasks:
            self._tasks.pop(service).cancel()
            self._events.pop(service, None)
            self._pools.forget(service)
            metrics.forget(*service.split("/", 1))

    async def _loop(self, service: str) -> None:
        assert self._http is not None
        reconciler = Reconciler(service, self._settings, self._kube, self._http, self.cache, self._pools)
        failures = 0
        while True:
            self._events[service].clear()
            try:
                with metrics.SECONDS.time():
                    wait = await asyncio.wait_for(reconciler.reconcile(), _RECONCILE_S)
                failures = 0
                metrics.RECONCILES.labels("ok").inc()
            except asyncio.CancelledError:
                raise
            except Exception as error:
                failures += 1
                wait = min(_LONGEST_BACKOFF_S, 2.0 ** min(failures, 6) * 0.5)
                metrics.RECONCILES.labels("error").inc()
                if isinstance(error, ApiError | TimeoutError):
                    log.warning("%s: %s; again in %.0f s", service, error or "the reconcile took too long", wait)
                else:
                    log.exception("%s: a reconcile failed; again in %.0f s", service, wait)
            await self._sleep(service, wait, wakes=failures == 0)

    async def _sleep(self, service: str, seconds: float, *, wakes: bool) -> None:
        if not wakes:
            await asyncio.sleep(seconds)
            return
        try:
            await asyncio.wait_for(self._events[service].wait(), seconds)
        except TimeoutError:
            return
        await asyncio.sleep(_SETTLE_S)
