"""One service's turn: read the demand, plan, write what differs, tell the status."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
from hadis.control import Controller, is_shared
from hadis.crd import GROUP, VERSION
from hadis.fields import parse_duration_s
from hadis.kube import ApiError, Kube
from hadis.plan import Plan
from hadis.profile import Profile
from hadis.resources import CascadeProfile, ServiceSpec
from hadis.status import CHANGES_KEPT, plan_document, plan_from_document, summary

from hadis_operator import children, metrics
from hadis_operator.children import COMPONENT_LABEL, POOL_LABEL, SERVICE_LABEL, Owner, Pool
from hadis_operator.demand import Counter, DemandError, Reading, default_query, from_prometheus, from_routers
from hadis_operator.reconcile import (
    Group,
    Verdict,
    create_troubles,
    differs,
    holds_gpu,
    is_ready,
    next_replicas,
    pod_troubles,
    with_times,
)
from hadis_operator.settings import Settings
from hadis_operator.world import World

log = logging.getLogger(__name__)
MANAGER = "hadis-operator"
_EVENT_EVERY_S = 60.0
_DEMAND_TOLD_EVERY_S = 10.0
_FOLLOWED_S = 1.0
"""Status of a Deployment may be older than its pods: it is believed when it says the same for this long."""
Object = dict[str, Any]
_PATHS = {
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Service": "/api/v1/namespaces/{}/services",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
}


@dataclass
class Seen:
    """What a turn found out on its way to the status."""

    verdicts: list[Verdict] = field(default_factory=list)
    active: Plan | None = None
    gpus: dict[str, int] = field(default_factory=dict)
    by_tier: dict[str, int] = field(default_factory=dict)


class Turn:
    """Takes the turns of one service; keeps its forecast between them."""

    def __init__(self, key: str, settings: Settings, kube: Kube, http: aiohttp.ClientSession, world: World) -> None:
        """`key` is "namespace/name"."""
        self.namespace, self.name = key.split("/", 1)
        self._settings, self._kube, self._http, self._world = settings, kube, http, world
        self.every_s = 2.0
        self._controller: Controller | None = None
        self._planned_for: tuple[str, ...] = ()
        self._counter = Counter()
        self._listed = False
        self._wish: dict[str, int] = {}
        self._lowered: dict[str, tuple[int, float]] = {}
        self._told_change: tuple[Plan | None, float] = (None, -1e9)
        self._told_demand = -1e9
        self._metrics = Verdict("MetricsAvailable", None, "NotRead", "the demand was not read yet")

    async def take(self) -> None:
        """Bring everything one step nearer to what the spec asks for."""
        item = self._world.objects["services"].get(f"{self.namespace}/{self.name}")
        if item is None or "deletionTimestamp" in item["metadata"]:
            return
        if not self._listed:
            await self._list()
        seen = Seen()
        try:
            spec = ServiceSpec.read(item["spec"])
        except ValueError as error:
            seen.verdicts.append(Verdict("Ready", False, "InvalidSpec", str(error)))
            await self._tell(item, seen)
            return
        self.every_s = parse_duration_s(spec.plan_every)
        profile = self._profile(spec, seen)
        if spec.mode == "Paused":
            seen.verdicts.append(
                Verdict("PlanApplied", None, "Paused", "mode is Paused: nothing is planned or changed")
            )
        elif profile is not None:
            await self._plan(item, spec, profile, seen)
        await self._tell(item, seen)

    async def _list(self) -> None:
        """See what exists before the first turn: a watch that has not caught up must not look like empty nodes."""
        selector = f"{SERVICE_LABEL}={children.label(self.name)}"
        for kind, path in (("deployments", _PATHS["Deployment"]), ("pods", "/api/v1/namespaces/{}/pods")):
            listed = await self._kube.get(path.format(self.namespace), labelSelector=selector)
            for item in listed["items"]:
                self._world.saw(kind, None, item)
        self._listed = True

    # What is planned

    def _profile(self, spec: ServiceSpec, seen: Seen) -> Profile | None:
        found = self._world.objects["profiles"].get(f"{self.namespace}/{spec.profile}")
        if found is None:
            text = (
                f"there is no CascadeProfile {spec.profile} in namespace {self.namespace}; what runs goes on as it is"
            )
            seen.verdicts.append(Verdict("ProfileValid", False, "ProfileNotFound", text))
            return None
        try:
            meta = {"name": found["metadata"]["name"]}
            profile = Profile(CascadeProfile.read({**_plain(found), "metadata": meta}))
        except ValueError as error:
            seen.verdicts.append(Verdict("ProfileValid", False, "ProfileInvalid", str(error)))
            return None
        tiers = ", ".join(profile.tiers)
        text = f"{len(profile.configurations)} configurations of {tiers}; content {profile.hash}"
        seen.verdicts.append(Verdict("ProfileValid", True, "Valid", text))
        return profile

    async def _plan(self, item: Object, spec: ServiceSpec, profile: Profile, seen: Seen) -> None:
        shared = is_shared(spec, profile)
        owner = Owner(self.name, self.namespace, item["metadata"]["uid"])
        deployments = self._children("deployments", "worker")
        pods = [pod for pod in self._children("pods", "worker") if holds_gpu(pod)]
        ready = self._ready(pods, profile)
        controller = self._controller_for(item, spec, profile, shared, len(pods))
        reading = await self._read(spec, seen)
        if reading is not None:
            controller.observe(reading.at, self._counter.add(reading.series))
        if controller.plan is not None and controller.goal is None and not controller.informed:
            # Just restarted: what was planned before is better than a plan for a demand that nobody knows yet.
            seen.active, targets = controller.plan, self._replicas(deployments)
        else:
            if any(ready.values()):
                seen.active = controller.route(ready, reading.queued_s if reading else {})
            # What was wished for last, not what Deployments ask for now: a GPU on its way is between them.
            known = self._wish or self._replicas(deployments)
            assigned = {tier: count for tier, count in known.items() if tier in profile.tiers}
            wish = controller.target(time.time(), spec.gpus.max, ready, assigned)
            self._wish = wish
            targets = {"all": sum(wish.values())} if shared else wish
        pools = children.pools(profile, shared=shared)
        if spec.mode == "Auto":
            await self._apply(owner, spec, profile, pools, targets, deployments, pods)
        self._judge(spec, controller, targets, ready, pods, deployments, seen, shared)

    def _controller_for(
        self, item: Object, spec: ServiceSpec, profile: Profile, shared: bool, existing: int
    ) -> Controller:
        planning = spec.model_copy(update={"router": None, "worker": None, "metrics": None, "mode": None})
        key = (profile.hash, str(planning), str(shared))
        if self._controller is None or key != self._planned_for:
            before = self._controller
            self._controller, self._planned_for = Controller(profile, spec, shared=shared), key
            told = item.get("status", {}).get("plan", {}).get("active")
            try:
                plan = plan_from_document(told) if told else None
            except ValueError:
                plan = None
            if plan is not None and not {plan.light, plan.heavy} <= set(profile.tiers):
                plan = None
            self._controller.resume(time.time(), plan if before is None else before.plan and plan, existing)
            if before is not None:
                self._controller.learn_from(before)
        return self._controller

    async def _read(self, spec: ServiceSpec, seen: Seen) -> Reading | None:
        prometheus = spec.metrics.prometheus
        address = prometheus.address if prometheus else self._settings.prometheus_address
        try:
            if address:
                query = (prometheus.query if prometheus else None) or default_query(self.namespace, self.name)
                reading = await from_prometheus(self._http, address, query)
                text = f"{len(reading.series)} series from {address}"
            else:
                routers = [pod for pod in self._children("pods", "router") if is_ready(pod)]
                urls = [f"http://{pod['status']['podIP']}:{children.ROUTER_PORT}" for pod in routers]
                reading = await from_routers(self._http, urls)
                text = f"read from {len(reading.series)} routers"
        except DemandError as error:
            told = f"{error}; the last plan is held"
            self._metrics = Verdict("MetricsAvailable", False, error.reason, told)
            seen.verdicts.append(self._metrics)
            return None
        seen.verdicts.append(Verdict("MetricsAvailable", True, "Read", text))
        return reading

    # What is counted

    def _children(self, kind: str, component: str) -> list[Object]:
        label = children.label(self.name)
        found = self._world.of(kind, self.namespace, label)
        return [item for item in found if item["metadata"]["labels"].get(COMPONENT_LABEL) == component]

    def _ready(self, pods: Sequence[Object], profile: Profile) -> dict[str, int]:
        counts = dict.fromkeys(profile.tiers, 0)
        for pod in pods:
            if is_ready(pod):
                pool = pod["metadata"]["labels"].get(POOL_LABEL)
                for tier in profile.tiers if pool == "all" else (pool,):
                    if tier in counts:
                        counts[tier] += 1
        return counts

    def _replicas(self, deployments: Sequence[Object]) -> dict[str, int]:
        """Return the workers asked for now, by pool."""
        counts: dict[str, int] = {}
        for d in deployments:
            pool = d["metadata"]["labels"][POOL_LABEL]
            counts[pool] = counts.get(pool, 0) + int(d["spec"].get("replicas", 0))
        return counts

    # What is written

    async def _apply(
        self, owner: Owner, spec: ServiceSpec, profile: Profile, pools: list[Pool], targets: dict[str, int],
        deployments: Sequence[Object], pods: Sequence[Object],
    ) -> None:  # fmt: skip
        router = children.config_map(owner, "router", children.router_documents(owner, spec, profile))
        worker = children.config_map(owner, "worker", [children.profile_document(profile)])
        wanted = [router, worker]
        wanted += children.router_children(owner, spec, self._settings, router["metadata"]["name"])
        wanted += [children.worker_service(owner, pool) for pool in pools]
        fresh = {
            pool.name: children.worker_deployment(
                owner, spec, self._settings, profile, pool, worker["metadata"]["name"], 0
            )
            for pool in pools
        }
        groups = self._groups(fresh, deployments, pods)
        replicas = next_replicas(groups, targets, spec.gpus.max)
        for pool, deployment in fresh.items():
            count = replicas[deployment["metadata"]["name"]]
            if count or targets.get(pool) or any(g.pool == pool and not g.stale and g.live for g in groups):
                deployment["spec"]["replicas"] = count
                wanted.append(deployment)
        for document in wanted:
            await self._write(document)
        await self._retire(deployments, {d["metadata"]["name"] for d in fresh.values()}, replicas, pods)
        await self._prune(wanted, deployments)

    def _groups(self, fresh: dict[str, Object], deployments: Sequence[Object], pods: Sequence[Object]) -> list[Group]:
        current = {d["metadata"]["name"]: pool for pool, d in fresh.items()}
        there = {d["metadata"]["name"]: d for d in deployments}
        found = []
        for name in {**current, **there}:
            live = there.get(name)
            labels = (live or fresh[current[name]])["metadata"]["labels"]
            revision = labels["hadis.dev/revision"]
            ours = [p for p in pods if p["metadata"]["labels"].get("hadis.dev/revision") == revision]
            terminating = sum("deletionTimestamp" in pod["metadata"] for pod in ours)
            counted = int((live or {}).get("status", {}).get("replicas", 0))
            found.append(
                Group(
                    name=name,
                    pool=labels[POOL_LABEL],
                    replicas=int(live["spec"].get("replicas", 0)) if live else 0,
                    charged=self._charged(name, live),
                    live=max(len(ours) - terminating, counted),
                    terminating=terminating,
                    ready=sum(map(is_ready, ours)),
                    stale=name not in current,
                )
            )
        return found

    def _charged(self, name: str, live: Object | None) -> int:
        """Return what a Deployment may still create: its former count until its controllers have surely followed."""
        former, at = self._lowered.get(name, (0, 0.0))
        if live is None:
            return former
        status, asked = live.get("status", {}), int(live["spec"].get("replicas", 0))
        followed = status.get("observedGeneration", 0) >= live["metadata"].get("generation", 0)
        if followed and status.get("replicas", 0) == asked and time.monotonic() - at > _FOLLOWED_S:
            self._lowered.pop(name, None)
            return asked
        return max(former, asked)

    def _note_lowered(self, name: str, before: Object | None, replicas: int) -> None:
        asked = int(before["spec"].get("replicas", 0)) if before else 0
        if replicas < asked:
            former = self._lowered.get(name, (0, 0.0))[0]
            self._lowered[name] = max(former, asked), time.monotonic()

    async def _retire(
        self, deployments: Sequence[Object], fresh: set[str], replicas: dict[str, int], pods: Sequence[Object]
    ) -> None:
        """Shrink the Deployments of old pods, and delete those without any."""
        for deployment in deployments:
            meta = deployment["metadata"]
            name, revision = meta["name"], meta["labels"].get("hadis.dev/revision")
            if name in fresh or "deletionTimestamp" in meta:
                continue
            path = f"{_PATHS['Deployment'].format(self.namespace)}/{name}"
            if replicas[name] != deployment["spec"].get("replicas"):
                metrics.WRITES.labels("Deployment").inc()
                self._note_lowered(name, deployment, replicas[name])
                found = await self._kube.merge(path, {"spec": {"replicas": replicas[name]}})
                self._world.saw("deployments", "MODIFIED", found)
            elif not replicas[name] and not any(
                p["metadata"]["labels"].get("hadis.dev/revision") == revision for p in pods
            ):
                metrics.WRITES.labels("Deployment").inc()
                await self._kube.delete(path)

    async def _write(self, document: Object) -> None:
        """Apply a child where it differs from what is known of it."""
        kind, name = document["kind"], document["metadata"]["name"]
        path = f"{_PATHS[kind].format(self.namespace)}/{name}"
        live = self._live(kind, name)
        if live is not None and not differs(document, live):
            return
        metrics.WRITES.labels(kind).inc()
        if kind == "Deployment" and "replicas" in document["spec"]:
            self._note_lowered(name, live, document["spec"]["replicas"])
        found = await self._kube.apply(path, document, MANAGER)
        self._world.saw("deployments" if kind == "Deployment" else "others", "MODIFIED", found)

    def _live(self, kind: str, name: str) -> Object | None:
        if kind == "Deployment":
            return self._world.objects["deployments"].get(f"{self.namespace}/{name}")
        return self._world.objects["others"].get(f"{self.namespace}/{kind}/{name}")

    async def _prune(self, wanted: list[Object], deployments: Sequence[Object]) -> None:
        """Delete children that are wanted no more: ConfigMaps that nobody mounts, an autoscaler that was taken out."""
        keep = {(d["kind"], d["metadata"]["name"]) for d in wanted}
        mounted = {
            volume["configMap"]["name"]
            for d in [*deployments, *self._children("deployments", "router")]
            for volume in d["spec"]["template"]["spec"].get("volumes", [])
            if "configMap" in volume
        }
        for item in self._world.of("others", self.namespace, children.label(self.name)):
            kind, name = item["kind"], item["metadata"]["name"]
            ours = any(o.get("kind") == "DiffusionService" for o in item["metadata"].get("ownerReferences", []))
            if not ours or (kind, name) in keep or (kind == "ConfigMap" and name in mounted):
                continue
            metrics.WRITES.labels(kind).inc()
            await self._kube.delete(f"{_PATHS[kind].format(self.namespace)}/{name}")
            self._world.saw("others", "DELETED", item)

    # What is told

    def _judge(
        self, spec: ServiceSpec, controller: Controller, targets: dict[str, int], ready: dict[str, int],
        pods: Sequence[Object], deployments: Sequence[Object], seen: Seen, shared: bool,
    ) -> None:  # fmt: skip
        serving = sum(map(is_ready, pods))
        wanted = min(spec.gpus.max, sum(targets.values()))
        seen.gpus = {"ready": serving, "existing": len(pods), "budget": spec.gpus.max}
        seen.by_tier = ready
        trouble = create_troubles(deployments) or pod_troubles([p for p in pods if not is_ready(p)])
        goal = controller.goal
        if goal is not None and not goal.feasible:
            seen.verdicts.append(Verdict("CapacitySufficient", False, "TooFewGpus", goal.reason))
        elif trouble and trouble[0] in ("Unschedulable", "QuotaExceeded"):
            seen.verdicts.append(Verdict("CapacitySufficient", False, *trouble))
        else:
            text = goal.reason if goal else "the demand is not known yet"
            seen.verdicts.append(Verdict("CapacitySufficient", True, "Sufficient", text))
        if spec.mode == "Advisory":
            text = f"mode is Advisory: {wanted} GPUs would be asked for"
            seen.verdicts.append(Verdict("PlanApplied", False, "Advisory", text))
        elif serving == wanted == len(pods):
            seen.verdicts.append(Verdict("PlanApplied", True, "Applied", f"{serving} workers are ready"))
        else:
            reason, text = trouble or ("Scaling", f"{serving} of {wanted} workers are ready, {len(pods)} exist")
            seen.verdicts.append(Verdict("PlanApplied", False, reason, text))
        bad = trouble or (("PlanInfeasible", seen.active.reason) if seen.active and not seen.active.feasible else None)
        seen.verdicts.append(Verdict("Degraded", bool(bad), *(bad or ("AsPlanned", "nothing is wrong"))))
        routers = sum(map(is_ready, self._children("pods", "router")))
        if not routers:
            seen.verdicts.append(Verdict("Ready", False, "NoRouter", "no router is ready yet"))
        elif not serving:
            seen.verdicts.append(Verdict("Ready", False, *(trouble or ("NoWorker", "no worker is ready yet"))))
        else:
            seen.verdicts.append(Verdict("Ready", True, "Serving", f"{routers} routers, {serving} workers"))

    async def _tell(self, item: Object, seen: Seen) -> None:
        before = item.get("status", {})
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        generation = item["metadata"].get("generation", 0)
        status: Object = {
            "observedGeneration": generation,
            "conditions": with_times(seen.verdicts, before.get("conditions", []), generation, now),
        }
        controller = self._controller
        if seen.gpus:
            status["gpus"] = "{ready} / {existing} / {budget}".format(**seen.gpus)
            status["readyByTier"] = seen.by_tier
        if controller and seen.active:
            status["plan"] = {"active": plan_document(seen.active), "summary": summary(seen.active)}
            if controller.goal:
                status["plan"]["target"] = plan_document(controller.goal)
            status["demand"] = self._demand(controller, before)
            metrics.tell(self.namespace, self.name, seen.active, (controller.observed_rps, controller.forecast_rps),
                         seen.gpus)  # fmt: skip
            await self._tell_change(item, seen.active, before, status, now)
        if differs(status, before) or len(status["conditions"]) != len(before.get("conditions", [])):
            path = f"/apis/{GROUP}/{VERSION}/namespaces/{self.namespace}/diffusionservices/{self.name}/status"
            metrics.WRITES.labels("status").inc()
            try:
                found = await self._kube.merge(path, {"status": status})
            except ApiError as error:
                if error.status != 404:
                    raise
            else:
                self._world.saw("services", "MODIFIED", found)

    def _demand(self, controller: Controller, before: Object) -> Object:
        told: Object = before.get("demand", {})
        new = {"observedRps": _short(controller.observed_rps), "forecastRps": _short(controller.forecast_rps)}
        if told and new != told and time.monotonic() - self._told_demand < _DEMAND_TOLD_EVERY_S:
            return told
        self._told_demand = time.monotonic()
        return new

    async def _tell_change(self, item: Object, plan: Plan, before: Object, status: Object, now: str) -> None:
        last, at = self._told_change
        if last is not None and not plan.worth_telling(last):
            return
        known = before.get("changes", [])
        text = f"{plan.light} + {plan.heavy}: {summary(plan)}" if plan.light != plan.heavy else summary(plan)
        if last is None and known and known[-1]["summary"] == text:
            self._told_change = plan, at
            return
        if time.monotonic() - at < _EVENT_EVERY_S:
            return
        self._told_change = plan, time.monotonic()
        status["changes"] = [*known, {"time": now, "summary": text, "reason": plan.reason}][-CHANGES_KEPT:]
        await self._event(item, f"{text}; {plan.reason}", now)

    async def _event(self, item: Object, text: str, now: str) -> None:
        meta = item["metadata"]
        event = {
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"generateName": f"{self.name[:40]}.", "namespace": self.namespace},
            "involvedObject": {"apiVersion": f"{GROUP}/{VERSION}", "kind": "DiffusionService", "name": self.name,
                               "namespace": self.namespace, "uid": meta["uid"]},
            "reason": "PlanChanged", "message": text[:1000], "type": "Normal", "count": 1,
            "firstTimestamp": now, "lastTimestamp": now, "source": {"component": MANAGER},
        }  # fmt: skip
        try:
            await self._kube.create(f"/api/v1/namespaces/{self.namespace}/events", event)
        except ApiError as error:
            log.warning("%s/%s: event not written: %s", self.namespace, self.name, error)


def _short(value: float) -> float:
    return float(f"{value:.3g}")


def _plain(item: Object) -> Object:
    return {name: item[name] for name in ("apiVersion", "kind", "spec") if name in item}
