"""Reconciles one service: observe what there is, decide (`hadis.planning.decide`), act on it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace

import aiohttp
from hadis.api.conditions import condition
from hadis.api.fields import parse_duration_s
from hadis.api.resources import ServiceSpec
from hadis.kube.client import Kube
from hadis.planning.decide import decide
from hadis.planning.fleet import is_shared
from hadis.planning.profile import Profile
from hadis.planning.rollout import profiles_in_force
from hadis.planning.snapshot import DemandReading, Memory, Problem, Snapshot
from hadis.protocol.address import http_url
from hadis.protocol.labels import label

from hadis_operator import children
from hadis_operator.apply import Applier
from hadis_operator.cache import Cache
from hadis_operator.children import Children, router
from hadis_operator.children.common import Owner
from hadis_operator.demand_sources import DemandError, default_query, from_prometheus, from_routers
from hadis_operator.former_profiles import FormerProfiles
from hadis_operator.observe import fitting, memory_of, snapshot_of
from hadis_operator.settings import OperatorSettings
from hadis_operator.status_writer import StatusWriter
from hadis_operator.views import ServiceView

_NOT_READ = Problem("NotRead", "nothing is planned")
_NOT_PLANNED_EVERY_S = 2.0


class Reconciler:
    """Takes the control steps of one service; keeps what is remembered between them.

    The demand is read once per `planEvery`, once enough was read to know it. A step that an event woke goes on with the
    last reading: the event says nothing of the demand, and what it does say should not wait for the answers of others.
    """

    def __init__(
        self, key: str, settings: OperatorSettings, kube: Kube, http: aiohttp.ClientSession, cache: Cache
    ) -> None:
        """`key` is "namespace/name"."""
        self._key = key
        self._namespace, self._name = key.split("/", 1)
        self._settings, self._http, self._cache = settings, http, cache
        self._reading: DemandReading | Problem = _NOT_READ
        self._read_s = 0.0
        self._applier = Applier(self._namespace, self._name, kube, http, cache)
        self._writer = StatusWriter(self._namespace, self._name, kube, cache)
        self._memory: Memory | None = None
        self._former = FormerProfiles(kube, self._namespace, self._name)
        self._children: tuple[tuple[object, ...], Children] | None = None

    async def reconcile(self) -> float:
        """Bring everything one step nearer to what the spec asks for; return the seconds until the next step is due."""
        service = self._cache.service(self._key)
        if service is None or service.deleting:
            return _NOT_PLANNED_EVERY_S
        await self._applier.list_once()
        if isinstance(service.spec, Problem):
            invalid = condition("Ready", False, service.spec.reason, service.spec.message)
            await self._writer.write_conditions(service, (invalid,))
            return _NOT_PLANNED_EVERY_S
        memory = self._memory or memory_of(service)
        snapshot, desired = await self._observe(service, service.spec, memory)
        decision = decide(snapshot, memory)
        self._memory = decision.memory
        if desired is not None and decision.replicas is not None:
            await self._applier.apply(desired, decision.replicas)
        await self._writer.write(service, snapshot, decision)
        return max(0.0, self._due_s(service.spec) - asyncio.get_running_loop().time())

    async def _observe(
        self, service: ServiceView, spec: ServiceSpec, memory: Memory
    ) -> tuple[Snapshot, Children | None]:
        profile, candidate = fitting(spec, self._cache.profile(self._namespace, spec.profile)), None
        if isinstance(profile, Profile):
            profile, candidate = await self._in_force(profile, spec, memory)
            spec = spec.model_copy(update={"profile": profile.resource.metadata.name})
        desired = None
        if isinstance(profile, Profile) and spec.mode != "Paused":
            desired = self._desired(service, spec, profile)
        clock = asyncio.get_running_loop().time
        known = isinstance(self._reading, DemandReading) and self._memory and self._memory.demand.informed
        if not known or clock() >= self._due_s(spec):
            self._reading = _NOT_READ if desired is None else await self._read_demand(spec)
            self._read_s = clock()
        of_service = self._namespace, label(self._name)
        routers = sum(pod.ready for pod in self._cache.pods(*of_service, "router"))
        snapshot = snapshot_of(
            now_s=time.time(),
            spec=spec,
            profile=profile,
            children=desired,
            reading=self._reading,
            deployments=self._cache.deployments(*of_service, "worker"),
            worker_pods=self._cache.pods(*of_service, "worker"),
            routers=routers,
            late_s=self._settings.worker_late_s,
            candidate=candidate,
        )
        return snapshot, desired

    async def _in_force(self, named: Profile, spec: ServiceSpec, memory: Memory) -> tuple[Profile, Profile | None]:
        """Return the profile in force, and the one that the service names where that is not in force yet."""
        known = await self._former.by_hash(memory.profile_hash) if spec.rollout else {}
        profile, candidate = profiles_in_force(named, known, spec.rollout, memory.profile_hash, memory.rollout)
        if fitting(spec, profile) is not profile:  # what the service asks for now, the old one does not have
            profile, candidate = named, None
        self._former.keep(profile)
        return profile, candidate

    def _due_s(self, spec: ServiceSpec) -> float:
        """Return when the demand is to be read again, on the event loop's clock."""
        return self._read_s + parse_duration_s(spec.plan_every)

    async def _read_demand(self, spec: ServiceSpec) -> DemandReading | Problem:
        """Return the demand from Prometheus where there is one, else from the routers themselves; or why not."""
        prometheus = spec.metrics.prometheus
        address = prometheus.address if prometheus else self._settings.prometheus_address
        try:
            routers = self._cache.pods(self._namespace, label(self._name), "router")
            urls = [http_url(pod.address, router.PORT) for pod in routers if pod.ready]
            if not address:
                return await from_routers(self._http, urls, self._applier.secret)
            query = (prometheus.query if prometheus else None) or default_query(self._namespace, self._name)
            reading = await from_prometheus(self._http, address, query)
        except DemandError as error:
            return Problem(error.reason, str(error))
        with contextlib.suppress(DemandError):  # what waits and how long batches take, routers alone know as of now
            own = await from_routers(self._http, urls, self._applier.secret)
            return replace(own, at_s=reading.at_s, series=reading.series, source=reading.source, sizes=reading.sizes)
        return reading

    def _desired(self, service: ServiceView, spec: ServiceSpec, profile: Profile) -> Children:
        """Return the children, made anew only for another spec or profile: a big profile takes long to write down."""
        key = (service.uid, service.generation, profile.resource.metadata.name, profile.hash)
        if self._children is None or self._children[0] != key:
            owner = Owner(self._name, self._namespace, service.uid)
            shared = is_shared(spec, profile)
            self._children = key, children.make(owner, spec, self._settings, profile, shared=shared)
        return self._children[1]
