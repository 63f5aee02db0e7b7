"""Act: writes a service's children where they differ from what is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import aiohttp
from hadis.kube.client import Kube
from hadis.planning.snapshot import Problem
from hadis.protocol.labels import REVISION, SERVICE, label

from hadis_operator.cache import Cache
from hadis_operator.child_writer import ChildWriter
from hadis_operator.children import Children
from hadis_operator.children.common import Manifest
from hadis_operator.children.worker import service_name
from hadis_operator.deletion_cost import cost_changes, idle_pods
from hadis_operator.service_secret import ServiceSecret
from hadis_operator.views import owner_uid
from hadis_operator.workload_views import DELETION_COST, DeploymentView


class Applier:
    """Writes the children of one service."""

    def __init__(self, namespace: str, name: str, kube: Kube, http: aiohttp.ClientSession, cache: Cache) -> None:
        """Begin with nothing listed."""
        self._namespace, self._name, self._label = namespace, name, label(name)
        self._kube, self._http, self._cache = kube, http, cache
        self._listed = False
        self._writer = ChildWriter(namespace, kube, cache)
        self._secret = ServiceSecret(kube, namespace)

    @property
    def secret(self) -> str | None:
        """What the parts of the service know each other by, once that was made or read."""
        return self._secret.value

    @property
    def problem(self) -> Problem | None:
        """What keeps children from being as they should be, as the last writes met it."""
        return self._writer.problem()

    async def list_once(self) -> None:
        """List what exists before the first step: a watch that is behind must not look like an empty cluster."""
        if self._listed:
            return
        for cached, kind in (("deployments", "Deployment"), ("pods", "Pod")):
            for item in await self._kube.list_items(self._writer.path(kind), labelSelector=f"{SERVICE}={self._label}"):
                self._cache.saw(cached, None, item)
        self._listed = True

    async def apply(self, children: Children, replicas: Mapping[str, int]) -> Problem | None:
        """Write all children, with `replicas` workers by revision; return `problem`."""
        owner = owner_uid(children.secret)
        await self._ensure_secret(children.secret)  # before the pods, which do not start without it
        workers = [
            {**document, "spec": {**document["spec"], "replicas": replicas[_revision(document)]}}
            for document in children.workers.values()
            if self._cache.knows(document) or replicas[_revision(document)]
        ]
        for document in children.fixed:
            await self._writer.apply(document)
        for document in workers:
            mark = partial(self._mark_idle, _revision(document), document["spec"]["replicas"])
            await self._writer.apply(document, before=mark)
        current = {_revision(document) for document in children.workers.values()}
        for deployment in self._cache.deployments(self._namespace, self._label, "worker"):
            if deployment.revision not in current and deployment.owner == owner:
                await self._retire(deployment, replicas.get(deployment.revision, deployment.replicas))
        await self._prune([*children.fixed, *workers], owner)
        self._writer.forget_others()
        return self.problem

    async def _ensure_secret(self, document: Manifest) -> None:
        async def ensure() -> None:
            await self._secret.ensure(document)

        if self._secret.due():
            await self._writer.attempt("Secret", document["metadata"]["name"], document, ensure)

    async def _mark_idle(self, revision: str, replicas: int) -> None:
        """Before workers are taken, mark the idle ones to be taken first."""
        pods = self._cache.pods(self._namespace, self._label, "worker")
        ready = [pod for pod in pods if pod.revision == revision and pod.ready]
        if not 0 < replicas < len(ready):
            return
        for pod, cost in cost_changes(ready, await idle_pods(self._http, ready, self._secret.value)).items():
            await self._writer.change("Pod", pod, {"metadata": {"annotations": {DELETION_COST: cost}}})

    async def _retire(self, deployment: DeploymentView, replicas: int) -> None:
        """Shrink a Deployment of pods that are no longer desired; delete it when none is left."""
        if deployment.deleting:
            return
        if replicas != deployment.replicas:
            await self._mark_idle(deployment.revision, replicas)
            await self._writer.change("Deployment", deployment.name, {"spec": {"replicas": replicas}})
        elif not replicas and not self._pods_of(deployment.revision):
            await self._writer.delete("Deployment", deployment.name)

    def _pods_of(self, revision: str) -> bool:
        pods = self._cache.pods(self._namespace, self._label, "worker")
        return any(pod.revision == revision for pod in pods)

    async def _prune(self, desired: Sequence[Manifest], owner: str) -> None:
        """Delete children that are no longer desired: ConfigMaps that nobody mounts, an autoscaler that was taken out.

        While workers of a former pool go on, their Service stays too, for routers find them by it.
        """
        keep = {(document["kind"], document["metadata"]["name"]) for document in desired}
        deployments = [
            view
            for component in ("worker", "router")
            for view in self._cache.deployments(self._namespace, self._label, component)
        ]
        keep |= {("ConfigMap", name) for deployment in deployments for name in deployment.config_maps}
        keep |= {("Service", service_name(self._name, view.pool)) for view in deployments if view.pool}
        for child in self._cache.others(self._namespace, self._label):
            if child.owner == owner and (child.kind, child.name) not in keep:
                await self._writer.delete(child.kind, child.name)


def _revision(document: Manifest) -> str:
    return str(document["metadata"]["labels"].get(REVISION, ""))
