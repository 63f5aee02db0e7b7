"""An API server without a cluster: keeps objects by path, records requests, and answers as the real one does."""

from __future__ import annotations

import base64
import copy
import itertools
from dataclasses import dataclass, field
from typing import Any

from hadis.kube.client import ApiError, Kube, Object
from hadis_operator.cache import Cache
from kube_objects import NAMESPACE


@dataclass(frozen=True)
class Request:
    """One request that changes something."""

    verb: str
    path: str
    body: Object | None = None

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[1]


@dataclass
class FakeKube(Kube):
    """Objects are created with `put`, which records nothing; `refuse` says with which status a path is refused."""

    objects: dict[str, Object] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    refuse: dict[str, int] = field(default_factory=dict)
    _versions: itertools.count[int] = field(default_factory=lambda: itertools.count(1000))

    def put(self, path: str, item: Object) -> Object:
        """Have an object; return it as a watch would deliver it."""
        self.objects[path] = copy.deepcopy(item)
        self.objects[path]["metadata"]["resourceVersion"] = str(next(self._versions))
        return copy.deepcopy(self.objects[path])

    def of(self, verb: str) -> list[Request]:
        """Return the recorded requests of a verb."""
        return [request for request in self.requests if request.verb == verb]

    async def close(self) -> None:
        return None

    async def get(self, path: str, **query: str) -> Object:
        """Return an object, or the list of the objects right below a path that have the label; no query, no list."""
        if path in self.objects:
            return copy.deepcopy(self.objects[path])
        if not query:
            raise ApiError(404, f"{path} is not there")
        name, _, value = query.get("labelSelector", "").partition("=")
        below = [item for key, item in self.objects.items() if key.rsplit("/", 1)[0] == path]
        items = [item for item in below if not name or _has(item, name, value)]
        return {"items": copy.deepcopy(items), "metadata": {"resourceVersion": str(next(self._versions))}}

    async def apply(self, path: str, document: Object, manager: str) -> Object:
        self._record("apply", path, document)
        return self._write(path, _merged(self.objects.get(path, {}), document))

    async def merge(self, path: str, document: Object) -> Object:
        self._record("merge", path, document)
        path = path.removesuffix("/status")
        if path not in self.objects:
            raise ApiError(404, f"{path} is not there")
        return self._write(path, _merged(self.objects[path], document))

    async def create(self, path: str, document: Object) -> Object:
        self._record("create", path, document)
        meta = document["metadata"]
        if strings := document.get("stringData"):  # a Secret's, which only goes in
            data = {key: base64.b64encode(text.encode()).decode() for key, text in strings.items()}
            document = {key: value for key, value in document.items() if key != "stringData"} | {"data": data}
        name = meta.get("name") or f"{meta['generateName']}{next(self._versions)}"
        return self._write(f"{path}/{name}", document | {"metadata": {**meta, "name": name}})

    async def delete(self, path: str) -> None:
        self._record("delete", path, None)
        self.objects.pop(path, None)

    def _record(self, verb: str, path: str, body: Object | None) -> None:
        self.requests.append(Request(verb, path, copy.deepcopy(body)))
        if path in self.refuse:
            raise ApiError(self.refuse[path], "refused")

    def _write(self, path: str, item: Object) -> Object:
        """Keep an object with what the API server sets; another spec is another generation."""
        before = self.objects.get(path, {})
        meta = item["metadata"] | {"resourceVersion": str(next(self._versions))}
        if "spec" in item:
            former = before.get("metadata", {}).get("generation", 0)
            meta["generation"] = former + (item["spec"] != before.get("spec"))
        self.objects[path] = item | {"metadata": meta}
        return copy.deepcopy(self.objects[path])


def _merged(item: Any, patch: Any) -> Any:
    """Return an object with a merge patch in it: null takes a field away, a list is written whole."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(item) if isinstance(item, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value)
    return result


def _has(item: Object, label: str, value: str) -> bool:
    """Return whether an object has a label, with a value if one is given."""
    labels = item["metadata"].get("labels") or {}
    return label in labels and value in ("", labels[label])


_COLLECTIONS = {
    "DiffusionService": ("services", "/apis/hadis.dev/v1alpha1/namespaces/{}/diffusionservices"),
    "CascadeProfile": ("profiles", "/apis/hadis.dev/v1alpha1/namespaces/{}/cascadeprofiles"),
    "GpuPool": ("pools", "/apis/hadis.dev/v1alpha1/namespaces/{}/gpupools"),
    "Deployment": ("deployments", "/apis/apps/v1/namespaces/{}/deployments"),
    "Pod": ("pods", "/api/v1/namespaces/{}/pods"),
    "ConfigMap": ("others", "/api/v1/namespaces/{}/configmaps"),
    "Service": ("others", "/api/v1/namespaces/{}/services"),
}


@dataclass
class FakeCluster:
    """An API server and a cache that has seen what was put into it."""

    kube: FakeKube = field(default_factory=FakeKube)
    cache: Cache = field(default_factory=lambda: Cache(lambda service: None))

    def put(self, *items: Object) -> None:
        """Have objects, and let the cache see them."""
        for item in items:
            kind, path = _COLLECTIONS[item.get("kind", "Pod")]
            path = path.format(item["metadata"]["namespace"])
            self.cache.saw(kind, "MODIFIED", self.kube.put(f"{path}/{item['metadata']['name']}", item))

    def take(self, kind: str, name: str) -> None:
        """Have an object no more, and let the cache see it."""
        cached, path = _COLLECTIONS[kind]
        path = f"{path.format(NAMESPACE)}/{name}"
        self.cache.saw(cached, "DELETED", self.kube.objects.pop(path))
