"""What the operator has seen of the cluster: its own caches, filled by watches, so that reconciling reads nothing.

Objects come in as the API server writes them and are parsed here, once; what goes out are the views. The documents
themselves are kept only to be compared with what we want (`lacks`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from hadis.kube.client import key
from hadis.planning.profile import Profile
from hadis.planning.snapshot import Problem
from hadis.protocol.labels import SERVICE

from hadis_operator.differences import differs
from hadis_operator.views import (
    ChildView,
    DeploymentView,
    Object,
    PodView,
    ServiceView,
    child_view,
    deployment_view,
    pod_view,
    profile_view,
    service_view,
)

_PARSERS: Mapping[str, Callable[[Object], Any]] = {
    "services": service_view,
    "profiles": profile_view,
    "deployments": deployment_view,
    "pods": pod_view,
    "others": child_view,
}


class Cache:
    """Objects by kind and "namespace/name"; says which services should be reconciled when one changes."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        """`changed` gets the key of each service that an event may concern."""
        self._changed = changed
        self._documents: dict[str, dict[str, Object]] = {kind: {} for kind in _PARSERS}
        self._views: dict[str, dict[str, Any]] = {kind: {} for kind in _PARSERS}
        self._of_service: dict[str, dict[str, set[str]]] = {kind: defaultdict(set) for kind in _PARSERS}
        self._met: dict[str, tuple[Object, Object]] = {}
        """By kind and name, an object and the last document that it was seen to lack nothing of."""

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
        view: Profile | Problem = self._views["profiles"].get(f"{namespace}/{name}", missing)
        return view

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
        """Return whether an object is not there, or not as a document of it wants it."""
        kind = "deployments" if document["kind"] == "Deployment" else "others"
        name = _name(kind, document)
        known = self._documents[kind].get(name)
        if known is None:
            return True
        compared = self._met.get(f"{kind}/{name}")
        if compared is not None and compared[0] is known and compared[1] == document:
            return False
        if differs(slim(document), known):
            return True
        self._met[f"{kind}/{name}"] = known, document
        return False

    def knows(self, document: Object) -> bool:
        """Return whether an object is there."""
        kind = "deployments" if document["kind"] == "Deployment" else "others"
        return _name(kind, document) in self._documents[kind]

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
            self._views[kind][name] = _PARSERS[kind](item)
            self._of_service[kind][owner].add(name)
        for service in self._concerned(kind, event, before, item):
            self._changed(service)

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

    def gone(self, kind: str, namespace: str, child: ChildView) -> None:
        """Forget an object that we have deleted."""
        name = f"{namespace}/{child.kind}/{child.name}"
        if item := self._documents[kind].get(name):
            self.saw(kind, "DELETED", item)

    def _forget(self, kind: str, name: str, owner: str) -> None:
        self._documents[kind].pop(name, None)
        self._met.pop(f"{kind}/{name}", None)
        self._views[kind].pop(name, None)
        self._of_service[kind][owner].discard(name)

    def _concerned(self, kind: str, event: str | None, before: Object | None, item: Object) -> list[str]:
        """Return the services that an event may concern."""
        name = _name(kind, item)
        if kind == "services":
            # A status that was written, by us most likely, is nothing to reconcile.
            new = before is None or event == "DELETED" or _generation(before) != _generation(item)
            return [name] if new else []
        services: dict[str, ServiceView] = self._views["services"]
        near = [service for service in services if _namespace(service) == _namespace(name)]
        if kind == "profiles":
            return [service for service in near if services[service].profile == item["metadata"]["name"]]
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
    """Return what of a document is kept beside its view: what is compared with what we want, or else its metadata."""
    return item if kind in ("deployments", "others") else {"metadata": item["metadata"]}


def _generation(item: Object) -> tuple[int, bool]:
    """Return what changes when somebody writes a spec or deletes an object."""
    return item["metadata"].get("generation", 0), "deletionTimestamp" in item["metadata"]


def _version(item: Object) -> int:
    """Return an object's resource version: the API server counts up."""
    text = str(item.get("metadata", {}).get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0


def _name(kind: str, item: Object) -> str:
    """Return the cache's key: "others" are of several kinds."""
    if kind != "others":
        return key(item)
    return f"{item['metadata'].get('namespace', '')}/{item['kind']}/{item['metadata']['name']}"


def _owner(item: Object) -> str:
    """Return "namespace/label" of the service that an object is labelled with."""
    label = (item["metadata"].get("labels") or {}).get(SERVICE, "")
    return f"{item['metadata'].get('namespace', '')}/{label}"


def _namespace(name: str) -> str:
    return name.split("/", 1)[0]
