"""Reads the demand of one service from wherever its spec says; whatever goes wrong there is a Problem, never an error.

So the step goes on: children are put right and the status is written, whatever Prometheus or a router answers.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import aiohttp
from hadis.api.prometheus import Prometheus
from hadis.api.resources import ServiceSpec
from hadis.kube.client import Kube
from hadis.planning.snapshot import DemandReading, Problem, Quiet

from hadis_operator.credential_sources import CredentialSource
from hadis_operator.demand_sources import DemandError, from_routers
from hadis_operator.prometheus import default_query, from_prometheus
from hadis_operator.sample_clock import SampleClock
from hadis_operator.settings import OperatorSettings

log = logging.getLogger(__name__)


class DemandReader:
    """Reads for one service; knows how Prometheus' clock compares with ours."""

    def __init__(
        self,
        key: str,
        settings: OperatorSettings,
        kube: Kube,
        http: aiohttp.ClientSession,
        clock: Callable[[], float],
    ) -> None:
        """`key` is "namespace/name"; `clock` gives seconds and never jumps."""
        self._key, self._settings, self._http, self._clock = key, settings, http, clock
        self.quiet: Quiet | None = None
        """Since when nobody asks for anything, as of the last reading of the routers; None where none was read."""
        self._own: DemandReading | None = None
        """What routers told last: a missed reading of them is no empty queue."""
        self._sample_clock = SampleClock()
        self._credentials = CredentialSource(kube, key.split("/", 1)[0], settings.prometheus_credentials)

    async def read(self, spec: ServiceSpec, routers: Sequence[str], secret: str | None) -> DemandReading | Problem:
        """Return the demand from Prometheus where there is one, else from the routers (URLs); or why there is none.

        What waits, how long batches take and whether anybody asks for anything, routers alone know as of now.
        """
        own = await self._read(from_routers(self._http, routers, self._clock, secret))
        self.quiet = own.quiet if isinstance(own, DemandReading) else None
        prometheus = spec.metrics.prometheus
        address = prometheus.address if prometheus else self._settings.prometheus_address
        if not address:
            return own
        query = (prometheus.query if prometheus else None) or default_query(*self._key.split("/", 1))
        reading = await self._read(self._from_prometheus(prometheus, address, query))
        if isinstance(own, DemandReading):
            self._own = own
        if isinstance(reading, Problem) or self._own is None:
            return reading
        return replace(self._own, at_s=reading.at_s, series=reading.series, source=reading.source, sizes=reading.sizes)

    async def _read(self, source: Awaitable[DemandReading]) -> DemandReading | Problem:
        try:
            return await source
        except DemandError as error:
            return Problem(error.reason, str(error))
        except Exception as error:
            log.exception("%s: the demand could not be read", self._key)
            return Problem("ReadFailed", f"the demand could not be read ({type(error).__name__}); the log says why")

    async def _from_prometheus(self, prometheus: Prometheus | None, address: str, query: str) -> DemandReading:
        shown = await self._credentials.get(prometheus)
        try:
            return await from_prometheus(self._http, address, query, self._sample_clock, self._clock(), shown)
        except DemandError as error:
            if error.reason in ("Unauthorized", "Unreachable"):
                self._credentials.doubt()
            raise DemandError(error.reason, shown.hide(str(error))) from None
