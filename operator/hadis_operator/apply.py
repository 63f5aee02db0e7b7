"""Act: writes a service's children where they differ from what is known of them."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

import aiohttp
from hadis.kube.client import Kube
from hadis.protocol.labels import REVISION, SERVICE, label

from hadis_operator import metrics
from hadis_operator.cache import Cache
from hadis_operator.children import Children
from hadis_operator.children.common import Manifest
from hadis_operator.children.worker import service_name
from hadis_operator.deletion_cost import cost_changes, idle_pods
from hadis_operator.service_secret import ServiceSecret
from hadis_operator.views import DELETION_COST, DeploymentView

MANAGER = "hadis-operator"
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

    def __init__(self, namespace: str, name: str, kube: Kube, http: aiohttp.ClientSession, cache: Cache) -> None:
        """Begin with nothing listed."""
        self._namespace, self._name, self._label = namespace, name, label(name)
        self._kube, self._http, self._cache = kube, http, cache
        self._listed = False
        self._secret = ServiceSecret(kube, namespace)

    @property
    def secret(self) -> str | None:
        """What the parts of the service know each other by, once that was made or read."""
        return self._secret.value

    async def list_once(self) -> None:
        """List what exists before the first step: a watch that is behind must not look like an empty cluster."""
        if self._listed:
            return
        for cached, kind in (("deployments", "Deployment"), ("pods", "Pod")):
            listing = await self._kube.get(self._path(kind), labelSelector=f"{SERVICE}={self._label}")
            for item in listing["items"]:
                self._cache.saw(cached, None, item)
        self._listed = True

    async def apply(self, children: Children, replicas: Mapping[str, int]) -> None:
        """Write all children, with `replicas` workers by revision."""
        await self._secret.ensure(children.secret)  # before the pods, which do not start without it
        workers = [
            {**document, "spec": {**document["spec"], "replicas": replicas[_revision(document)]}}
            for document in children.workers.values()
            if self._cache.knows(document) or replicas[_revision(document)]
        ]
        for document in (*children.fixed, *workers):
            await self._write(document)
        current = {_revision(document) for document in children.workers.values()}
        for deployment in self._cache.deployments(self._namespace, self._label, "worker"):
            if deployment.revision not in current:
                await self._retire(deployment, replicas.get(deployment.revision, deployment.replicas))
        await self._prune([*children.fixed, *workers])

    async def _write(self, document: Manifest) -> None:
        """Apply a child where it differs from what is known of it."""
        if not self._cache.lacks(document):
            return
        kind, name = document["kind"], document["metadata"]["name"]
        if kind == "Deployment":
            await self._mark_idle(_revision(document), document["spec"].get("replicas"))
        answer = await self._call(kind, self._kube.apply(f"{self._path(kind)}/{name}", document, MANAGER))
        self._cache.saw("deployments" if kind == "Deployment" else "others", "MODIFIED", answer)

    async def _mark_idle(self, revision: str, replicas: int | None) -> None:
        """Before workers are taken, mark the idle ones to be taken first."""
        pods = self._cache.pods(self._namespace, self._label, "worker")
        ready = [pod for pod in pods if pod.revision == revision and pod.ready]
        if replicas is None or not 0 < replicas < len(ready):
            return
        for pod, cost in cost_changes(ready, await idle_pods(self._http, ready, self._secret.value)).items():
            change = {"metadata": {"annotations": {DELETION_COST: cost}}}
            answer = await self._call("Pod", self._kube.merge(f"{self._path('Pod')}/{pod}", change))
            self._cache.saw("pods", "MODIFIED", answer)

    async def _retire(self, deployment: DeploymentView, replicas: int) -> None:
        """Shrink a Deployment of pods that are wanted no more; delete it when none is left."""
        if deployment.deleting:
            return
        path = f"{self._path('Deployment')}/{deployment.name}"
        if replicas != deployment.replicas:
            await self._mark_idle(deployment.revision, replicas)
            answer = await self._call("Deployment", self._kube.merge(path, {"spec": {"replicas": replicas}}))
            self._cache.saw("deployments", "MODIFIED", answer)
        elif not replicas and not self._pods_of(deployment.revision):
            await self._call("Deployment", self._kube.delete(path))

    def _pods_of(self, revision: str) -> bool:
        pods = self._cache.pods(self._namespace, self._label, "worker")
        return any(pod.revision == revision for pod in pods)

    async def _prune(self, desired: Sequence[Manifest]) -> None:
        """Delete children that are wanted no more: ConfigMaps that nobody mounts, an autoscaler that was taken out.

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
            if child.owned and (child.kind, child.name) not in keep:
                await self._call(child.kind, self._kube.delete(f"{self._path(child.kind)}/{child.name}"))
                self._cache.gone("others", self._namespace, child)

    @staticmethod
    async def _call(kind: str, request: Awaitable[Any]) -> Any:
        metrics.WRITES.labels(kind).inc()
        return await request

    def _path(self, kind: str) -> str:
        return _PATHS[kind].format(self._namespace)


def _revision(document: Manifest) -> str:
    return str(document["metadata"]["labels"].get(REVISION, ""))
