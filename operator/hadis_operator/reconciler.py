"""Reconciles one service: observe what there is, decide (`hadis.planning.decide`), act on it."""

from __future__ import annotations

import asyncio
import time

import aiohttp
from hadis.api.conditions import condition
from hadis.api.fields import parse_duration_s
from hadis.api.resources import ServiceSpec
from hadis.kube.client import Kube
from hadis.planning.conditions import unplanned_conditions
from hadis.planning.decide import Decision, decide
from hadis.planning.fleet import is_shared
from hadis.planning.gpu_pool import decide_in_pool
from hadis.planning.lowered import settles_in_s
from hadis.planning.memory import Memory
from hadis.planning.objectives import criterion
from hadis.planning.profile import Profile
from hadis.planning.rollout import profiles_in_force
from hadis.planning.snapshot import DemandReading, Problem, Serving, Snapshot
from hadis.protocol.address import http_url
from hadis.protocol.labels import label

from hadis_operator import children
from hadis_operator.apply import Applier
from hadis_operator.cache import Cache
from hadis_operator.children import Children, router
from hadis_operator.children.common import Owner, propagated
from hadis_operator.demand_reader import DemandReader
from hadis_operator.fetch_progress import fetch_status
from hadis_operator.former_profiles import FormerProfiles
from hadis_operator.gpu_pools import GpuPools
from hadis_operator.observe import fitting, groups_of, memory_of, problem_of_routers, snapshot_of, worker_of
from hadis_operator.permitted import permitted
from hadis_operator.settings import OperatorSettings
from hadis_operator.status_writer import StatusWriter
from hadis_operator.views import ServiceView

_NOT_READ = Problem("NotRead", "nothing is planned")
_NOT_PLANNED_EVERY_S = 2.0
_IDLE_S = 2.0
"""Routers of an idle service are asked at least this often: somebody waits from its first request on."""


class Reconciler:
    """Takes the control steps of one service; keeps what is remembered between them.

    The demand is read once per `planEvery`, once enough was read to know it. A step that an event woke goes on with the
    last reading: the event says nothing of the demand, and what it does say should not wait for the answers of others.
    """

    def __init__(
        self,
        key: str,
        settings: OperatorSettings,
        kube: Kube,
        http: aiohttp.ClientSession,
        cache: Cache,
        pools: GpuPools,
    ) -> None:
        """`key` is "namespace/name"."""
        self._key = key
        self._namespace, self._name = key.split("/", 1)
        self._label = self._namespace, label(self._name)
        self._settings, self._http, self._cache, self._pools = settings, http, cache, pools
        self._began_s = time.time() - asyncio.get_running_loop().time()
        self._demand = DemandReader(key, settings, kube, http, self._now_s)
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
        if service is None:
            return _NOT_PLANNED_EVERY_S
        await self._applier.list_once()
        if service.deleting:
            self._pools.put_seen(service)
            return _NOT_PLANNED_EVERY_S
        spec = permitted(service.spec, self._settings)
        if isinstance(spec, Problem):
            self._pools.put_seen(service)
            unread = condition("ProfileValid", None, spec.reason, spec.message)
            await self._writer.write_conditions(service, [unread, *unplanned_conditions(self._serving(), spec)])
            return _NOT_PLANNED_EVERY_S
        memory = self._memory or memory_of(service)
        snapshot, desired = await self._observe(service, spec, memory)
        snapshot, decision = self._decide(service, snapshot, memory)
        problem = snapshot.child_problem
        try:
            if desired is not None and decision.replicas is not None:
                problem = await self._applier.apply(desired, decision.replicas)
        except Exception:  # what routers follow is told all the same
            await self._publish(service, snapshot, decision)
            raise
        await self._publish(service, snapshot, decision)
        if problem != snapshot.child_problem:
            return 0.0  # the next step tells it
        due_in_s = max(0.0, self._due_s(spec) - asyncio.get_running_loop().time())
        took_s = self._now_s() - snapshot.now_s
        return min(due_in_s, max(0.0, settles_in_s(decision.memory.lowered, snapshot.now_s) - took_s))

    async def _publish(self, service: ServiceView, snapshot: Snapshot, decision: Decision) -> None:
        pods = self._cache.pods(*self._label, "worker")
        await self._writer.write(service, snapshot, decision, await fetch_status(self._http, pods))

    def _decide(self, service: ServiceView, snapshot: Snapshot, memory: Memory) -> tuple[Snapshot, Decision]:
        """Decide within what the service's pool grants it. Without an await: the pool's ledger is right throughout."""
        if not service.pool:
            self._pools.forget(service.key)
            decision = decide(snapshot, memory)
        else:
            pool = self._pools.pool(service.namespace, service.pool)
            snapshot, decision, member = decide_in_pool(snapshot, memory, pool, service.key)
            self._pools.put(service, member)
        self._memory = decision.memory
        return snapshot, decision

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
        snapshot = snapshot_of(
            now_s=self._now_s(),
            spec=spec,
            profile=profile,
            children=desired,
            reading=self._reading,
            deployments=self._cache.deployments(*self._label, "worker"),
            worker_pods=self._cache.pods(*self._label, "worker"),
            routers=self._routers(),
            late_s=self._settings.worker_late_s,
            quiet=self._demand.quiet,
            router_problem=self._router_problem(),
            child_problem=self._applier.problem if spec.mode == "Auto" else None,
            candidate=candidate,
        )
        return snapshot, desired

    def _serving(self) -> Serving:
        """Return who answers requests, where the spec cannot be read."""
        groups = groups_of(None, self._cache.deployments(*self._label, "worker"), ())
        return Serving(
            now_s=self._now_s(),
            workers=tuple(worker_of(pod, ()) for pod in self._cache.pods(*self._label, "worker")),
            groups=tuple(groups),
            routers=self._routers(),
            late_s=self._settings.worker_late_s,
            router_problem=self._router_problem(),
        )

    def _routers(self) -> int:
        return sum(pod.ready for pod in self._cache.pods(*self._label, "router"))

    def _router_problem(self) -> Problem | None:
        deployments = self._cache.deployments(*self._label, "router")
        pods = self._cache.pods(*self._label, "router")
        return problem_of_routers(deployments, pods, self._now_s(), self._settings.worker_late_s)

    async def _in_force(self, named: Profile, spec: ServiceSpec, memory: Memory) -> tuple[Profile, Profile | None]:
        """Return the profile in force, and the one that the service names where that is not in force yet."""
        known = await self._former.by_hash(memory.profile_hash) if spec.rollout else {}
        profile, candidate = profiles_in_force(named, known, spec.rollout, memory.profile_hash, memory.rollout)
        refused = criterion(spec.objective).refusal(profile) is not None
        if refused or fitting(spec, profile) is not profile:  # what is asked for now, the old one does not have
            profile, candidate = named, None
        self._former.keep(profile)
        return profile, candidate

    def _due_s(self, spec: ServiceSpec) -> float:
        """Return when the demand is to be read again, on the event loop's clock."""
        every_s = parse_duration_s(spec.plan_every)
        idle = self._memory is not None and self._memory.rest.idle
        return self._read_s + (min(every_s, _IDLE_S) if idle else every_s)

    async def _read_demand(self, spec: ServiceSpec) -> DemandReading | Problem:
        routers = self._cache.pods(*self._label, "router")
        urls = [http_url(pod.address, router.PORT) for pod in routers if pod.ready]
        return await self._demand.read(spec, urls, self._applier.secret)

    def _now_s(self) -> float:
        """Return seconds that never jump, and that began as those of the wall clock: pods tell when they started."""
        return self._began_s + asyncio.get_running_loop().time()

    def _desired(self, service: ServiceView, spec: ServiceSpec, profile: Profile) -> Children:
        """Return the children, made anew only for another spec or profile: a big profile takes long to write down."""
        labels = propagated(service.labels, self._settings.propagated_labels)
        key = (service.uid, service.generation, labels, profile.resource.metadata.name, profile.hash)
        if self._children is None or self._children[0] != key:
            owner = Owner(self._name, self._namespace, service.uid, labels)
            shared = is_shared(spec, profile)
            self._children = key, children.make(owner, spec, self._settings, profile, shared=shared)
        return self._children[1]
