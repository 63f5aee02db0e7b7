"""Writes a service's children where they differ from what is known of them, and moves GPUs between Deployments."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import aiohttp
from hadis.kube.client import Kube
from hadis.protocol.labels import COMPONENT, POOL, REVISION, SERVICE, label

from hadis_operator import metrics
from hadis_operator.children import Children
from hadis_operator.idle import COST, cost_changes, idle_pods
from hadis_operator.reconcile import Group, differs, is_ready, next_replicas
from hadis_operator.world import World, slim

MANAGER = "hadis-operator"
_FOLLOWED_S = 1.0
"""Status of a Deployment may be older than its pods: it is believed when it says the same for this long."""
Object = dict[str, Any]
_PATHS = {
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Pod": "/api/v1/namespaces/{}/pods",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Service": "/api/v1/namespaces/{}/services",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
}


class Applier:
    """Writes the children of one service."""

    def __init__(self, namespace: str, name: str, kube: Kube, http: aiohttp.ClientSession, world: World) -> None:
        """Begin with nothing listed."""
        self._namespace, self._label = namespace, label(name)
        self._kube, self._http, self._world = kube, http, world
        self._listed = False
        self._lowered: dict[str, tuple[int, float]] = {}

    async def list_once(self) -> None:
        """See what exists before the first turn: a watch that has not caught up must not look like empty nodes."""
        if self._listed:
            return
        for cache, kind in (("deployments", "Deployment"), ("pods", "Pod")):
            listed = await self._kube.get(self._path(kind), labelSelector=f"{SERVICE}={self._label}")
            for item in listed["items"]:
                self._world.saw(cache, None, item)
        self._listed = True

    def children(self, cache: str, component: str) -> list[Object]:
        """Return what exists of a component: "pods" or "deployments"."""
        found = self._world.of(cache, self._namespace, self._label)
        return [item for item in found if item["metadata"]["labels"].get(COMPONENT) == component]

    async def apply(
        self, wanted: Children, targets: Mapping[str, int], budget: int, pods: Sequence[Object], *, room: bool
    ) -> None:
        """Bring everything one step nearer to `wanted` with `targets` workers by pool; `pods` hold GPUs now.

        `room` is whether nodes are believed to have GPUs for more pods.
        """
        deployments = self.children("deployments", "worker")
        groups = self._groups(wanted.workers, deployments, pods)
        replicas = next_replicas(groups, targets, budget, room=room)
        needed = {g.name for g in groups if not g.stale and (g.live or replicas[g.name] or targets.get(g.pool))}
        workers = [
            {**document, "spec": {**document["spec"], "replicas": replicas[name]}}
            for document in wanted.workers.values()
            if (name := document["metadata"]["name"]) in needed
        ]
        for document in (*wanted.fixed, *workers):
            await self._write(document, pods)
        fresh = {document["metadata"]["name"] for document in wanted.workers.values()}
        for deployment in deployments:
            if deployment["metadata"]["name"] not in fresh:
                await self._retire(deployment, replicas, pods)
        await self._prune([*wanted.fixed, *workers], deployments)

    # GPUs

    def _groups(self, fresh: dict[str, Object], deployments: Sequence[Object], pods: Sequence[Object]) -> list[Group]:
        current = {document["metadata"]["name"]: document for document in fresh.values()}
        there = {d["metadata"]["name"]: d for d in deployments}
        found = []
        for name in {**current, **there}:
            live = there.get(name)
            labels = (live or current[name])["metadata"]["labels"]
            ours = _of_revision(pods, labels[REVISION])
            terminating = sum("deletionTimestamp" in pod["metadata"] for pod in ours)
            counted = int((live or {}).get("status", {}).get("replicas", 0))
            found.append(
                Group(
                    name=name,
                    pool=labels[POOL],
                    replicas=_asked(live),
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
        status, asked = live.get("status", {}), _asked(live)
        followed = status.get("observedGeneration", 0) >= live["metadata"].get("generation", 0)
        if followed and status.get("replicas", 0) == asked and time.monotonic() - at > _FOLLOWED_S:
            self._lowered.pop(name, None)
            return asked
        return max(former, asked)

    async def _before_count(self, live: Object, replicas: int, pods: Sequence[Object]) -> None:
        """Where a count is lowered: remember the former one, and have idle pods taken first."""
        asked, name = _asked(live), live["metadata"]["name"]
        if replicas >= asked:
            return
        former = self._lowered.get(name, (0, 0.0))[0]
        self._lowered[name] = max(former, asked), time.monotonic()
        ready = [pod for pod in _of_revision(pods, live["metadata"]["labels"].get(REVISION)) if is_ready(pod)]
        if 0 < replicas < len(ready):
            for pod, cost in cost_changes(ready, await idle_pods(self._http, ready)).items():
                change = {"metadata": {"annotations": {COST: cost}}}
                found = await self._call("Pod", self._kube.merge, f"{self._path('Pod')}/{pod}", change)
                self._world.saw("pods", "MODIFIED", found)

    async def _retire(self, live: Object, replicas: dict[str, int], pods: Sequence[Object]) -> None:
        """Shrink a Deployment of old pods; delete it when none is left."""
        name, asked = live["metadata"]["name"], _asked(live)
        if "deletionTimestamp" in live["metadata"]:
            return
        path = f"{self._path('Deployment')}/{name}"
        if replicas[name] != asked:
            await self._before_count(live, replicas[name], pods)
            change = {"spec": {"replicas": replicas[name]}}
            found = await self._call("Deployment", self._kube.merge, path, change)
            self._world.saw("deployments", "MODIFIED", found)
        elif not asked and not _of_revision(pods, live["metadata"]["labels"].get(REVISION)):
            await self._call("Deployment", self._kube.delete, path)

    # Objects

    async def _write(self, document: Object, pods: Sequence[Object]) -> None:
        """Apply a child where it differs from what is known of it."""
        kind, name = document["kind"], document["metadata"]["name"]
        cache, known = ("deployments", name) if kind == "Deployment" else ("others", f"{kind}/{name}")
        live = self._world.objects[cache].get(f"{self._namespace}/{known}")
        if live is not None and not differs(slim(document), live):
            return
        if live is not None and kind == "Deployment" and "replicas" in document["spec"]:
            await self._before_count(live, document["spec"]["replicas"], pods)
        path = f"{self._path(kind)}/{name}"
        found = await self._call(kind, self._kube.apply, path, document, MANAGER)
        self._world.saw(cache, "MODIFIED", found)

    async def _prune(self, wanted: list[Object], deployments: Sequence[Object]) -> None:
        """Delete children that are wanted no more: ConfigMaps that nobody mounts, an autoscaler that was taken out."""
        keep = {(d["kind"], d["metadata"]["name"]) for d in wanted}
        mounted = {name for d in [*deployments, *self.children("deployments", "router")] for name in _config_maps(d)}
        for item in self._world.of("others", self._namespace, self._label):
            kind, name = item["kind"], item["metadata"]["name"]
            ours = any(o.get("kind") == "DiffusionService" for o in item["metadata"].get("ownerReferences", []))
            if not ours or (kind, name) in keep or (kind == "ConfigMap" and name in mounted):
                continue
            await self._call(kind, self._kube.delete, f"{self._path(kind)}/{name}")
            self._world.saw("others", "DELETED", item)

    async def _call(self, kind: str, call: Any, *arguments: Any) -> Any:
        metrics.WRITES.labels(kind).inc()
        return await call(*arguments)

    def _path(self, kind: str) -> str:
        return _PATHS[kind].format(self._namespace)


def _asked(deployment: Object | None) -> int:
    return int(deployment["spec"].get("replicas", 0)) if deployment else 0


def _of_revision(pods: Sequence[Object], revision: str | None) -> list[Object]:
    return [pod for pod in pods if pod["metadata"]["labels"].get(REVISION) == revision]


def _config_maps(deployment: Object) -> Iterator[str]:
    """Yield the names of the ConfigMaps that a Deployment's pods mount."""
    for volume in deployment["spec"]["template"]["spec"].get("volumes", []):
        for source in (volume, *volume.get("projected", {}).get("sources", [])):
            if "configMap" in source:
                yield source["configMap"]["name"]
