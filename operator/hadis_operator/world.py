"""What the operator has seen of the cluster: its own caches, filled by watches, so that reconciling reads nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from hadis.api.resources import CascadeProfile
from hadis.kube.client import key
from hadis.planning.profile import Profile
from hadis.protocol.labels import SERVICE

Object = dict[str, Any]
KINDS = ("services", "profiles", "deployments", "pods", "others")


class World:
    """Objects by kind and "namespace/name"; tells who should look again when one changes."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        """`changed` gets the key of each service that an event may concern."""
        self._changed = changed
        self.objects: dict[str, dict[str, Object]] = {kind: {} for kind in KINDS}
        self._of_service: dict[str, dict[str, set[str]]] = {kind: defaultdict(set) for kind in KINDS}
        self._profiles: dict[str, tuple[Object, Profile | ValueError]] = {}

    def saw(self, kind: str, event: str | None, item: Object) -> None:
        """Take an event: None (listed), ADDED, MODIFIED or DELETED."""
        item = slim(item)
        if kind == "pods":
            item = {k: v for k, v in item.items() if k != "spec"}
        name = _name(kind, item)
        before = self.objects[kind].get(name)
        owner = self._owner(kind, item)
        if event == "DELETED":
            self.objects[kind].pop(name, None)
            if kind == "profiles":
                self._profiles.pop(name, None)
            self._of_service[kind][owner].discard(name)
        else:
            if _version(item) < _version(self.objects[kind].get(name, {})):
                return  # said before what we wrote meanwhile
            self.objects[kind][name] = item
            self._of_service[kind][owner].add(name)
        if kind == "services":
            # A status that was written, by us most likely, is nothing to look at again.
            if before is None or event == "DELETED" or _generation(before) != _generation(item):
                self._changed(name)
        elif kind == "profiles":
            for service, found in list(self.objects["services"].items()):
                if _namespace(service) == _namespace(name) and found["spec"].get("profile") == item["metadata"]["name"]:
                    self._changed(service)
        else:
            for service in self._services_of(owner):
                self._changed(service)

    def replace(self, kind: str, namespace: str, items: list[Object]) -> None:
        """Take a whole list of a namespace: what is not in it is gone."""
        listed = {_name(kind, item) for item in items}
        for name, item in list(self.objects[kind].items()):
            if _namespace(name) == namespace and name not in listed:
                self.saw(kind, "DELETED", item)
        for item in items:
            before = self.objects[kind].get(_name(kind, item), {}).get("metadata", {}).get("resourceVersion")
            if before != item["metadata"].get("resourceVersion"):
                self.saw(kind, None, item)

    def of(self, kind: str, namespace: str, label: str) -> list[Object]:
        """Return the children of a service (by its label's value)."""
        names = self._of_service[kind][f"{namespace}/{label}"]
        return [self.objects[kind][name] for name in sorted(names) if name in self.objects[kind]]

    def profile(self, namespace: str, name: str) -> Profile:
        """Return a profile, read once for all services that name it.

        Raises LookupError where there is none, ValueError where it is wrong.
        """
        found = self.objects["profiles"].get(f"{namespace}/{name}")
        if found is None:
            raise LookupError(f"there is no CascadeProfile {name} in namespace {namespace}")
        known = self._profiles.get(f"{namespace}/{name}")
        if known is None or known[0] is not found:
            known = self._profiles[f"{namespace}/{name}"] = found, _read(found)
        if isinstance(known[1], ValueError):
            raise known[1]
        return known[1]

    def _owner(self, kind: str, item: Object) -> str:
        label = item["metadata"].get("labels", {}).get(SERVICE, "")
        return f"{item['metadata'].get('namespace', '')}/{label}"

    def _services_of(self, owner: str) -> list[str]:
        if owner in self.objects["services"]:
            return [owner]
        return [name for name in self.objects["services"] if _namespace(name) == _namespace(owner)]


def slim(item: Object) -> Object:
    """Return an object without what is big and never looked at."""
    if "managedFields" in item["metadata"]:
        item = item | {"metadata": {k: v for k, v in item["metadata"].items() if k != "managedFields"}}
    if item.get("kind") == "ConfigMap":  # immutable, and named by its content
        item = {k: v for k, v in item.items() if k != "data"}
    return item


def _read(item: Object) -> Profile | ValueError:
    document = {part: item[part] for part in ("apiVersion", "kind", "spec") if part in item}
    try:
        return Profile(CascadeProfile.read(document | {"metadata": {"name": item["metadata"]["name"]}}))
    except ValueError as error:
        return error


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


def _namespace(name: str) -> str:
    return name.split("/", 1)[0]
