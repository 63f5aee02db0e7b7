"""One service's turn: read the demand, plan, have the children written and the status told."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import aiohttp
from hadis.api.fields import parse_duration_s
from hadis.api.resources import ServiceSpec
from hadis.api.status import plan_from_document
from hadis.kube.client import Kube
from hadis.planning.control import Controller, is_shared
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.protocol.labels import EVERY_TIER, POOL

from hadis_operator import children
from hadis_operator.apply import Applier
from hadis_operator.children import Children, router
from hadis_operator.children.common import Owner
from hadis_operator.conditions import Found, Verdict, judge, nodes_have_room
from hadis_operator.demand import Counter, DemandError, Reading, default_query, from_prometheus, from_routers
from hadis_operator.reconcile import holds_gpu, is_ready
from hadis_operator.settings import Settings
from hadis_operator.tell import Planned, Teller
from hadis_operator.world import World

Object = dict[str, Any]


class Turn:
    """Takes the turns of one service; keeps its forecast between them."""

    def __init__(self, key: str, settings: Settings, kube: Kube, http: aiohttp.ClientSession, world: World) -> None:
        """`key` is "namespace/name"."""
        self._namespace, self._name = key.split("/", 1)
        self._settings, self._http, self._world = settings, http, world
        self.every_s = 2.0
        self._applier = Applier(self._namespace, self._name, kube, http, world)
        self._teller = Teller(self._namespace, self._name, kube, world)
        self._controller: Controller | None = None
        self._planned_for: tuple[str, ...] = ()
        self._children: tuple[tuple[object, ...], Children] | None = None
        self._counter = Counter()
        self._wish: dict[str, int] = {}

    async def take(self) -> None:
        """Bring everything one step nearer to what the spec asks for."""
        item = self._world.objects["services"].get(f"{self._namespace}/{self._name}")
        if item is None or "deletionTimestamp" in item["metadata"]:
            return
        await self._applier.list_once()
        try:
            spec = ServiceSpec.read(item["spec"])
        except ValueError as error:
            await self._teller.tell(item, [Verdict("Ready", False, "InvalidSpec", str(error))])
            return
        self.every_s = parse_duration_s(spec.plan_every)
        profile, valid = self._profile(spec)
        verdicts, planned = [valid], None
        if spec.mode == "Paused":
            text = "mode is Paused: nothing is planned or changed"
            verdicts.append(Verdict("PlanApplied", None, "Paused", text))
        elif profile is not None:
            reading, known = await self._read(spec)
            found, planned = await self._plan(item, spec, profile, reading)
            verdicts += [known, *judge(found)]
        await self._teller.tell(item, verdicts, planned)

    def _profile(self, spec: ServiceSpec) -> tuple[Profile | None, Verdict]:
        try:
            profile = self._world.profile(self._namespace, spec.profile)
        except LookupError as error:
            text = f"{error.args[0]}; what runs goes on as it is"
            return None, Verdict("ProfileValid", False, "ProfileNotFound", text)
        except ValueError as error:
            return None, Verdict("ProfileValid", False, "ProfileInvalid", str(error))
        tiers = ", ".join(profile.tiers)
        text = f"{len(profile.configurations)} configurations of {tiers}; content {profile.hash}"
        return profile, Verdict("ProfileValid", True, "Valid", text)

    async def _read(self, spec: ServiceSpec) -> tuple[Reading | None, Verdict]:
        prometheus = spec.metrics.prometheus
        address = prometheus.address if prometheus else self._settings.prometheus_address
        try:
            if address:
                query = (prometheus.query if prometheus else None) or default_query(self._namespace, self._name)
                reading = await from_prometheus(self._http, address, query)
                text = f"{len(reading.series)} series from {address}"
            else:
                routers = [pod for pod in self._applier.children("pods", "router") if is_ready(pod)]
                urls = [f"http://{pod['status']['podIP']}:{router.PORT}" for pod in routers]
                reading = await from_routers(self._http, urls)
                text = f"read from {len(reading.series)} of {len(urls)} routers"
        except DemandError as error:
            return None, Verdict("MetricsAvailable", False, error.reason, f"{error}; the last plan is held")
        return reading, Verdict("MetricsAvailable", True, "Read", text)

    async def _plan(
        self, item: Object, spec: ServiceSpec, profile: Profile, reading: Reading | None
    ) -> tuple[Found, Planned]:
        shared = is_shared(spec, profile)
        pods = [pod for pod in self._applier.children("pods", "worker") if holds_gpu(pod)]
        ready, now, late_s = _ready(pods, profile), datetime.now(UTC), self._settings.worker_late_s
        known = self._wish or _told_wish(item) or _replicas(self._applier.children("deployments", "worker"), profile)
        controller = self._controller_for(item, spec, profile, shared, sum(known.values()))
        if reading is not None:
            controller.observe(reading.at, self._counter.add(reading.series))
        self._wish = {tier: known.get(tier, 0) for tier in profile.tiers}
        active = self._decide(controller, spec, ready, reading)
        targets = {EVERY_TIER: sum(self._wish.values())} if shared else self._wish
        if spec.mode == "Auto":
            wanted = self._children_for(item, spec, profile, shared)
            room = nodes_have_room(pods, self._applier.children("deployments", "worker"), now, late_s)
            await self._applier.apply(wanted, targets, spec.gpus.max, pods, room=room)
        found = Found(
            spec=spec,
            active=active,
            goal=controller.goal,
            wanted=min(spec.gpus.max, sum(targets.values())),
            pods=pods,
            deployments=self._applier.children("deployments", "worker"),
            routers=sum(map(is_ready, self._applier.children("pods", "router"))),
            now=now,
            late_s=late_s,
        )
        demand = controller.observed_rps, controller.forecast_rps
        gpus = {"ready": sum(map(is_ready, pods)), "existing": len(pods), "budget": spec.gpus.max}
        return found, Planned(active, controller.goal, demand, gpus, self._wish, ready)

    def _decide(
        self, controller: Controller, spec: ServiceSpec, ready: dict[str, int], reading: Reading | None
    ) -> Plan | None:
        """Return the plan that routes; bring the workers to have, by tier, up to date."""
        if controller.plan is not None and controller.goal is None and not controller.informed:
            # Just restarted: what was planned before is better than a plan for a demand that nobody knows yet.
            return controller.plan
        active = controller.route(ready, reading.queued_s if reading else {}) if any(ready.values()) else None
        # From what was wished for last, not what Deployments ask for now: a GPU on its way is between them.
        wish = controller.target(time.time(), spec.gpus.max, ready, self._wish)
        self._wish = dict.fromkeys(self._wish, 0) | wish
        return active

    def _controller_for(
        self, item: Object, spec: ServiceSpec, profile: Profile, shared: bool, wanted: int
    ) -> Controller:
        planning = spec.model_copy(update={"router": None, "worker": None, "metrics": None, "mode": None})
        key = (profile.hash, str(planning), str(shared))
        if self._controller is None or key != self._planned_for:
            before = self._controller
            self._controller, self._planned_for = Controller(profile, spec, shared=shared), key
            plan = _told_plan(item, profile)
            self._controller.resume(time.time(), plan if before is None else before.plan and plan, wanted)
            if before is not None:
                self._controller.learn_from(before)
        return self._controller

    def _children_for(self, item: Object, spec: ServiceSpec, profile: Profile, shared: bool) -> Children:
        """Return the children, made anew only for another spec or profile: a big profile takes long to write down."""
        meta = item["metadata"]
        key = (meta["uid"], meta.get("generation"), profile.resource.metadata.name, profile.hash)
        if self._children is None or self._children[0] != key:
            owner = Owner(self._name, self._namespace, meta["uid"])
            self._children = key, children.make(owner, spec, self._settings, profile, shared=shared)
        return self._children[1]


def _told_wish(item: Object) -> dict[str, int]:
    """Return the workers by tier that were wished for when the status was told."""
    wish = item.get("status", {}).get("wantedByTier", {})
    return {str(tier): int(count) for tier, count in wish.items()}


def _told_plan(item: Object, profile: Profile) -> Plan | None:
    """Return the plan that the status tells; None where there is none, or one of other tiers."""
    document = item.get("status", {}).get("plan", {}).get("active")
    try:
        plan = plan_from_document(document) if document else None
    except ValueError:
        return None
    return plan if plan and {plan.light, plan.heavy} <= set(profile.tiers) else None


def _ready(pods: Sequence[Object], profile: Profile) -> dict[str, int]:
    """Return the workers that are ready for each tier."""
    counts = dict.fromkeys(profile.tiers, 0)
    for pod in filter(is_ready, pods):
        pool = pod["metadata"]["labels"].get(POOL)
        for tier in profile.tiers if pool == EVERY_TIER else (pool,):
            if tier in counts:
                counts[tier] += 1
    return counts


def _replicas(deployments: Sequence[Object], profile: Profile) -> dict[str, int]:
    """Return the workers asked for now, by tier; those of a pool that is no tier are the first tier's."""
    counts = dict.fromkeys(profile.tiers, 0)
    for d in deployments:
        pool = d["metadata"]["labels"][POOL]
        counts[pool if pool in counts else next(iter(counts))] += int(d["spec"].get("replicas", 0))
    return counts
