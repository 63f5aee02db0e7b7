"""What the operator has seen of the cluster: its own caches, filled by watches, so that reconciling reads nothing.

Objects come in as the API server writes them and are parsed here, once; what goes out are the views. The documents
themselves are kept only to be compared with what we want (`lacks`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from hadis.kube.client import Object, key
from hadis.planning.profile import Profile
from hadis.planning.snapshot import Problem
from hadis.protocol.labels import SERVICE

from hadis_operator.differences import differs, restricted
from hadis_operator.views import (
    ChildView,
    DeploymentView,
    PodView,
    ProfileView,
    ServiceView,
    child_view,
    deployment_view,
    gpu_pool_view,
    pod_view,
    profile_view,
    service_view,
)

_PARSERS: Mapping[str, Callable[[Object], Any]] = {
    "services": service_view,
    "profiles": profile_view,
    "pools": gpu_pool_view,
    "deployments": deployment_view,
    "pods": pod_view,
    "others": child_view,
}


class Cache:
    """Objects by kind and "namespace/name"; says which services should be reconciled when one changes."""

    def __init__(self, changed: Callable[[str], None], profiles_changed: Callable[[], None] = lambda: None) -> None:
        """`changed` gets the key of each service that an event may concern.

        `profiles_changed` is called where one may concern what profiles say of themselves and of their users.
        """
        self._changed, self._profiles_changed = changed, profiles_changed
        self._documents: dict[str, dict[str, Object]] = {kind: {} for kind in _PARSERS}
        self._views: dict[str, dict[str, Any]] = {kind: {} for kind in _PARSERS}
        self._of_service: dict[str, dict[str, set[str]]] = {kind: defaultdict(set) for kind in _PARSERS}
        self._met: dict[str, tuple[Object, Object]] = {}
        """By kind and name, an object and the last document that it was seen to lack nothing of."""
        self._granted: dict[str, tuple[Object, Object]] = {}
        """By kind and name, the last document that was applied, and what the answer had of its fields."""

    # What is known

    @property
    def services(self) -> list[str]:
        """Keys of all services."""
        return list(self._views["services"])

    def service(self, service: str) -> ServiceView | None:
        """Return a service by its key."""
        view: ServiceView | None = self._views["services"].get(service)
        return view

    def profile(self, namespace: str, name: str) -> Profile | Problem:
        """Return a profile, read once for all services that name it, or why there is none."""
        missing = Problem(
            "ProfileNotFound",
            f"there is no CascadeProfile {name} in namespace {namespace}; what runs goes on as it is",
        )
        view: ProfileView | None = self._views["profiles"].get(f"{namespace}/{name}")
        return missing if view is None else view.content

    def profiles(self) -> dict[str, ProfileView]:
        """Return all profiles by "namespace/name"."""
        return dict(self._views["profiles"])

    def gpu_pool(self, namespace: str, name: str) -> int | Problem:
        """Return the GPUs of a pool, or why it has none."""
        missing = Problem("PoolNotFound", f"there is no GpuPool {name} in namespace {namespace}")
        view: int | Problem = self._views["pools"].get(f"{namespace}/{name}", missing)
        return view

    def gpu_pools(self) -> list[Object]:
        """Return all pools: their metadata."""
        return list(self._documents["pools"].values())

    def owners(self, namespace: str) -> set[str]:
        """Return the labels of the services that Deployments and pods of a namespace were made for."""
        of = {owner for kind in ("deployments", "pods") for owner, names in self._of_service[kind].items() if names}
        return {owner.split("/", 1)[1] for owner in of if _namespace(owner) == namespace}

    def deployments(self, namespace: str, label: str, component: str) -> list[DeploymentView]:
        """Return the Deployments of a component ("worker" or "router") of a service (by its label's value)."""
        return [view for view in self._of("deployments", namespace, label) if view.component == component]

    def pods(self, namespace: str, label: str, component: str) -> list[PodView]:
        """Return the pods of a component of a service that have not ended."""
        pods: list[PodView] = self._of("pods", namespace, label)
        return [pod for pod in pods if pod.component == component and not pod.finished]

    def others(self, namespace: str, label: str) -> list[ChildView]:
        """Return the other objects of a service."""
        return self._of("others", namespace, label)

    def lacks(self, document: Object) -> bool:
        """Return whether an object is not there, or not as a document of it wants it, as far as that was granted."""
        known, name = self.document(document), _cached(document)
        if known is None:
            return True
        compared = self._met.get(name)
        if compared is not None and compared[0] is known and compared[1] == document:
            return False
        applied, granted = self._granted.get(name, (None, None))
        if differs(granted if applied == document else slim(document), known):
            return True
        self._met[name] = known, document
        return False

    def document(self, document: Object) -> Object | None:
        """Return the object that a document is of, as it is known."""
        kind, name = _cached(document).split("/", 1)
        return self._documents[kind].get(name)

    def knows(self, document: Object) -> bool:
        """Return whether an object is there."""
        return self.document(document) is not None

    # What was seen

    def saw(self, kind: str, event: str | None, item: Object) -> None:
        """Take an event: None (listed), ADDED, MODIFIED or DELETED."""
        item = slim(item)
        name, owner = _name(kind, item), _owner(item)
        before = self._documents[kind].get(name)
        if event == "DELETED":
            self._forget(kind, name, owner)
        elif before is not None and _version(item) and _version(item) <= _version(before):
            return  # an event of our own last write, whose answer is here already, or from before it
        else:
            self._documents[kind][name] = _kept(kind, item)
            self._views[kind][name] = self._view(kind, name, item)
            self._of_service[kind][owner].add(name)
        concerned = self._concerned(kind, event, before, item)
        if kind == "profiles" or (kind == "services" and concerned):
            self._profiles_changed()
        for service in concerned:
            self._changed(service)

    def wrote(self, document: Object, answer: Object) -> None:
        """Take the answer to a document that was applied; admission may have changed what was asked for."""
        self._granted[_cached(document)] = document, restricted(slim(document), slim(answer))
        self.saw(_cached(document).split("/", 1)[0], "MODIFIED", answer)

    def replace(self, kind: str, namespace: str, items: list[Object]) -> None:
        """Take a whole list of a namespace: what is not in it is gone."""
        listed = {_name(kind, item) for item in items}
        for name, item in list(self._documents[kind].items()):
            if _namespace(name) == namespace and name not in listed:
                self.saw(kind, "DELETED", item)
        for item in items:
            before = self._documents[kind].get(_name(kind, item), {}).get("metadata", {}).get("resourceVersion")
            if before != item["metadata"].get("resourceVersion"):
                self.saw(kind, None, item)

    def gone(self, namespace: str, kind: str, name: str) -> None:
        """Forget an object that we have deleted; a Deployment is there until its pods are seen to go."""
        if item := self._documents["others"].get(f"{namespace}/{kind}/{name}"):
            self.saw("others", "DELETED", item)

    def _view(self, kind: str, name: str, item: Object) -> Any:
        if kind == "profiles":
            return profile_view(item, self._views[kind].get(name))
        return _PARSERS[kind](item)

    def _forget(self, kind: str, name: str, owner: str) -> None:
        self._documents[kind].pop(name, None)
        self._met.pop(f"{kind}/{name}", None)
        self._granted.pop(f"{kind}/{name}", None)
        self._views[kind].pop(name, None)
        self._of_service[kind][owner].discard(name)

    def _concerned(self, kind: str, event: str | None, before: Object | None, item: Object) -> list[str]:
        """Return the services that an event may concern."""
        name = _name(kind, item)
        # A status that was written, by us most likely, is nothing to reconcile.
        new = before is None or event == "DELETED" or _generation(before) != _generation(item)
        if kind == "services":
            return [name] if new else []
        services: dict[str, ServiceView] = self._views["services"]
        near = [service for service in services if _namespace(service) == _namespace(name)]
        if kind == "profiles":
            if not new and _generation(item)[0]:
                return []
            return [service for service in near if services[service].profile == item["metadata"]["name"]]
        if kind == "pools":
            if not new and _generation(item)[0]:
                return []
            return [service for service in near if services[service].pool == item["metadata"]["name"]]
        return [_owner(item)] if _owner(item) in services else near

    def _of(self, kind: str, namespace: str, label: str) -> list[Any]:
        names = self._of_service[kind][f"{namespace}/{label}"]
        return [self._views[kind][name] for name in sorted(names) if name in self._views[kind]]


def slim(item: Object) -> Object:
    """Return an object without what is big and never looked at."""
    if "managedFields" in item["metadata"]:
        item = item | {"metadata": {k: v for k, v in item["metadata"].items() if k != "managedFields"}}
    if item.get("kind") == "ConfigMap":  # immutable, and named by its content
        item = {k: v for k, v in item.items() if k not in ("data", "binaryData")}
    return item


def _kept(kind: str, item: Object) -> Object:
    """Return what of a document is kept beside its view: what is compared with what we want, and its metadata."""
    if kind in ("deployments", "others"):
        return item
    return {part: item[part] for part in ("metadata", *(("status",) if kind == "pools" else ())) if part in item}


def _generation(item: Object) -> tuple[int, bool, Object]:
    """Return what changes when somebody writes a spec or labels, or deletes an object."""
    meta = item["metadata"]
    return meta.get("generation", 0), "deletionTimestamp" in meta, meta.get("labels") or {}


def _version(item: Object) -> int:
    """Return an object's resource version: the API server counts up."""
    text = str(item.get("metadata", {}).get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0


def _name(kind: str, item: Object) -> str:
    """Return the cache's key: "others" are of several kinds."""
    if kind != "others":
        return key(item)
    return f"{item['metadata'].get('namespace', '')}/{item['kind']}/{item['metadata']['name']}"


def _cached(document: Object) -> str:
    """Return the kind of the cache that a document's object is in, and its key there."""
    kind = "deployments" if document["kind"] == "Deployment" else "others"
    return f"{kind}/{_name(kind, document)}"


def _owner(item: Object) -> str:
    """Return "namespace/label" of the service that an object is labelled with."""
    label = (item["metadata"].get("labels") or {}).get(SERVICE, "")
    return f"{item['metadata'].get('namespace', '')}/{label}"


def _namespace(name: str) -> str:
    return name.split("/", 1)[0]
