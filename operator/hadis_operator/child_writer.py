"""Writes a service's children one by one, among others who write too.

Only what the service owns is written or deleted, no child over and over, and one that cannot be written is a Problem
that ends nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from hadis.kube.client import ApiError, Kube
from hadis.planning.conditions import CONTESTED
from hadis.planning.snapshot import Problem

from hadis_operator import metrics
from hadis_operator.backoff import WriteBackoff
from hadis_operator.cache import Cache
from hadis_operator.children.common import Manifest
from hadis_operator.differences import Path, differences
from hadis_operator.field_managers import MANAGER, other_manager, owns, readable
from hadis_operator.read_views import managed_fields
from hadis_operator.references import references
from hadis_operator.views import owner_uid
from hadis_operator.workload_views import deployment_view

_PATHS = {
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Service": "/api/v1/namespaces/{}/services",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
}
_SCALE_MANAGER = "hadis-operator-scale"
"""Owns a Deployment's count from when we leave it to an autoscaler until that has set it."""
_COUNT: Path = ("f:spec", "f:replicas")
_AWAY = (0, 401, 429, 503, 504)
"""HTTP statuses that say nothing of a child: the API server cannot be asked now."""
_FIRST = ("NameTaken", "ChildRefused", CONTESTED)
"""Reasons of problems, the gravest first."""
_MOST_SHOWN = 3


class NameTaken(Exception):
    """There is an object of that name already, and it is not the service's."""


class ChildWriter:
    """Writes to the objects of one service; remembers what it met."""

    def __init__(self, namespace: str, kube: Kube, cache: Cache) -> None:
        """Begin with nothing written."""
        self._namespace, self._kube, self._cache = namespace, kube, cache
        self._backoff = WriteBackoff()
        self._problems: dict[str, Problem] = {}
        self._visited: set[str] = set()

    def path(self, kind: str, name: str = "") -> str:
        """Return where an object is, or all of its kind."""
        return _PATHS[kind].format(self._namespace) + (f"/{name}" if name else "")

    def problem(self) -> Problem | None:
        """Return what is wrong with children: all that have the gravest reason."""
        for reason in _FIRST:
            texts = [problem.message for _, problem in sorted(self._problems.items()) if problem.reason == reason]
            if texts:
                more = f"; and {len(texts) - _MOST_SHOWN} more" if len(texts) > _MOST_SHOWN else ""
                return Problem(reason, "; ".join(texts[:_MOST_SHOWN]) + more)
        return None

    def forget_others(self) -> None:
        """Forget what was met at objects that were not looked at since the last call: they are no longer desired."""
        self._problems = {path: problem for path, problem in self._problems.items() if path in self._visited}
        self._backoff.keep(self._visited)
        self._visited = set()

    async def apply(self, document: Manifest, before: Callable[[], Awaitable[None]] | None = None) -> None:
        """Apply a child where it differs from what is known of it; `before` is done first, where it is written."""
        kind, name = document["kind"], document["metadata"]["name"]
        path = self.path(kind, name)
        if not self._cache.lacks(document):
            self._visited.add(path)
            if not (self._backoff.contested(path) and self._reason(path) == CONTESTED):  # it would not stay so
                self._problems.pop(path, None)
            return
        if any(self._reason(self.path(*used)) == "NameTaken" for used in references(document)):
            return  # it would run with what is another's

        async def write() -> None:
            await self._check_owner(path, document)
            if not self._cache.lacks(document):  # it was there, and not seen yet
                return
            if before is not None:
                await before()
            if kind == "Deployment" and "replicas" not in document["spec"]:
                await self._hand_over_count(path, document)
            metrics.WRITES.labels(kind).inc()
            self._cache.wrote(document, await self._kube.apply(path, document, MANAGER))

        await self.attempt(kind, name, document, write)

    async def change(self, kind: str, name: str, patch: Manifest) -> None:
        """Merge a patch into an object that the service owns; one that is gone meanwhile is no error."""

        async def write() -> None:
            metrics.WRITES.labels(kind).inc()
            try:
                answer = await self._kube.merge(self.path(kind, name), patch)
            except ApiError as error:
                if error.status != 404:
                    raise
            else:
                self._cache.saw({"Deployment": "deployments", "Pod": "pods"}[kind], "MODIFIED", answer)

        await self.attempt(kind, name, patch, write)

    async def delete(self, kind: str, name: str) -> None:
        """Delete an object that the service owns."""

        async def write() -> None:
            metrics.WRITES.labels(kind).inc()
            await self._kube.delete(self.path(kind, name))
            self._cache.gone(self._namespace, kind, name)

        await self.attempt(kind, name, {}, write)

    async def attempt(self, kind: str, name: str, content: Manifest, write: Callable[[], Awaitable[None]]) -> None:
        """Write to an object, unless the same was written just now; keep what was met.

        Raises ApiError only where the API server cannot be asked at all.
        """
        path = self.path(kind, name)
        self._visited.add(path)
        if not self._backoff.due(path, content):
            return
        self._backoff.tried(path, content)
        refused = self._reason(path) in ("NameTaken", "ChildRefused")
        try:
            contest = None
            if content and not refused and self._backoff.contested(path):
                contest = await self._contest(path, f"{kind} {name}", content)
            await write()
        except NameTaken as error:
            self._problems[path] = Problem("NameTaken", f"{kind} {name} {error}")
        except ApiError as error:
            if error.status in _AWAY:
                raise
            self._problems[path] = Problem("ChildRefused", f"{kind} {name}: {error}")
        else:
            self._problems.pop(path, None)
            if contest is not None:
                self._problems[path] = contest
            if refused:
                self._backoff.begin_anew(path)

    def _reason(self, path: str) -> str:
        return self._problems[path].reason if path in self._problems else ""

    async def _check_owner(self, path: str, document: Manifest) -> None:
        """Raise NameTaken where an object of that name is there and not the service's."""
        owner = self._cache.owner(document)
        if owner is None:
            try:
                item = await self._kube.get(path)
            except ApiError as error:
                if error.status != 404:
                    raise
                return
            owner = owner_uid(item)
            if owner == owner_uid(document):
                self._cache.saw("deployments" if document["kind"] == "Deployment" else "others", "MODIFIED", item)
        check_owner(owner, document)

    async def _hand_over_count(self, path: str, document: Manifest) -> None:
        """Before a count is left out that we own, have another manager own it as it is.

        Else nobody would, and the API server would set the default, 1, until an autoscaler sets another.
        """
        if not self._cache.knows(document):
            return
        item = await self._kube.get(path)
        if not owns(managed_fields(item), MANAGER, _COUNT):
            return
        count = {part: document[part] for part in ("apiVersion", "kind")} | {
            "metadata": {"name": document["metadata"]["name"]},
            "spec": {"replicas": deployment_view(item).replicas},
        }
        metrics.WRITES.labels("Deployment").inc()
        await self._kube.apply(path, count, _SCALE_MANAGER)

    async def _contest(self, path: str, which: str, content: Manifest) -> Problem:
        """Return who undoes our writes to an object."""
        try:
            item = await self._kube.get(path)
        except ApiError as error:
            if error.status != 404:
                raise
            return Problem(CONTESTED, f"{which} is deleted again and again; it is made again ever more seldom")
        field = next(differences(content, item), ())
        what, who = readable(field) or "fields that HADIS writes", other_manager(managed_fields(item), field)
        text = f"{which}: {who} changes {what} again and again; it is put right ever more seldom"
        return Problem(CONTESTED, f"{text}: have it leave that alone")


def check_owner(owner: str, document: Manifest) -> None:
    """Raise NameTaken where the owner of an object is not the service that a document of it names."""
    if owner != owner_uid(document):
        text = "is there already and not of this service, and is left alone: delete it, or name the DiffusionService"
        raise NameTaken(f"{text} otherwise")
