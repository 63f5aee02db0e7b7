"""Keeps services as they should be: one loop a service, woken by events and by its own clock.

Level-triggered: a turn looks at everything in the caches and writes what differs, so that it does not matter which
event woke it, or whether the operator was killed in the middle of the turn before.
"""

from __future__ import annotations

import asyncio
import logging
import random

import aiohttp
from hadis.kube.client import ApiError, Kube
from hadis.protocol.labels import SERVICE

from hadis_operator import metrics
from hadis_operator.settings import Settings
from hadis_operator.turn import Turn
from hadis_operator.world import World

log = logging.getLogger(__name__)
_TURN_S = 60.0
_SETTLE_S = 0.05
"""Events come in bursts; they are waited for this long before a turn."""
_LONGEST_REST_S = 30.0


class Keeper:
    """All services of the namespaces that this operator watches."""

    def __init__(self, settings: Settings, kube: Kube) -> None:
        """Start with nothing seen."""
        self._settings, self._kube = settings, kube
        self.world = World(self._wake)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._awake: dict[str, asyncio.Event] = {}
        self._http: aiohttp.ClientSession | None = None

    async def run(self) -> None:
        """Compare the caches with the API server now and then, for ever."""
        self._http = aiohttp.ClientSession()
        for service in list(self.world.objects["services"]):
            self._wake(service)
        while True:
            await asyncio.sleep(self._settings.resync_s * random.uniform(0.8, 1.2))
            namespaces = {name.split("/")[0] for name in self.world.objects["services"]}
            for namespace in namespaces:
                await self._resync(namespace)

    async def close(self) -> None:
        """Stop every loop."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        if self._http:
            await self._http.close()
        await self._kube.close()

    async def _resync(self, namespace: str) -> None:
        try:
            for kind, path in (("deployments", "/apis/apps/v1"), ("pods", "/api/v1")):
                listed = await self._kube.get(f"{path}/namespaces/{namespace}/{kind}", labelSelector=SERVICE)
                self.world.replace(kind, namespace, listed["items"])
        except ApiError as error:
            log.warning("resync of %s: %s", namespace, error)

    def _wake(self, service: str) -> None:
        if self._http is None:
            return  # not running yet; run() wakes all
        if service in self.world.objects["services"]:
            self._awake.setdefault(service, asyncio.Event()).set()
            if service not in self._tasks:
                self._tasks[service] = asyncio.create_task(self._keep(service))
        elif service in self._tasks:
            self._tasks.pop(service).cancel()
            self._awake.pop(service, None)
            metrics.forget(*service.split("/", 1))

    async def _keep(self, service: str) -> None:
        assert self._http is not None
        turn = Turn(service, self._settings, self._kube, self._http, self.world)
        failures = 0
        while True:
            self._awake[service].clear()
            wait = turn.every_s
            try:
                with metrics.SECONDS.time():
                    await asyncio.wait_for(turn.take(), _TURN_S)
                failures = 0
                metrics.RECONCILES.labels("ok").inc()
            except asyncio.CancelledError:
                raise
            except Exception as error:
                failures += 1
                wait = min(_LONGEST_REST_S, 2.0 ** min(failures, 6) * 0.5)
                metrics.RECONCILES.labels("error").inc()
                if isinstance(error, ApiError | TimeoutError):
                    log.warning("%s: %s; again in %.0f s", service, error or "the turn took too long", wait)
                else:
                    log.exception("%s: a turn failed; again in %.0f s", service, wait)
            await self._rest(service, wait, wakes=failures == 0)

    async def _rest(self, service: str, seconds: float, *, wakes: bool) -> None:
        if not wakes:
            await asyncio.sleep(seconds)
            return
        try:
            await asyncio.wait_for(self._awake[service].wait(), seconds)
        except TimeoutError:
            return
        await asyncio.sleep(_SETTLE_S)
