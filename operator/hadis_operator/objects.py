"""What the cache reads of objects as the API server writes them: names, versions, and the services they are of."""

from __future__ import annotations

from hadis.kube.client import Object, key
from hadis.protocol.labels import SERVICE

from hadis_operator.children.common import Manifest


def slim(item: Object) -> Object:
    """Return an object without what is big and never looked at."""
    if "managedFields" in item["metadata"]:
        item = item | {"metadata": {k: v for k, v in item["metadata"].items() if k != "managedFields"}}
    if item.get("kind") == "ConfigMap":  # immutable, and named by its content
        item = {k: v for k, v in item.items() if k not in ("data", "binaryData")}
    return item


def generation(item: Object) -> tuple[int, bool, Object]:
    """Return what changes when somebody writes a spec or labels, or deletes an object."""
    meta = item["metadata"]
    return meta.get("generation", 0), "deletionTimestamp" in meta, meta.get("labels") or {}


def _version(item: Object) -> int:
    """Return an object's resource version: the API server counts up."""
    text = str(item.get("metadata", {}).get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0


def is_newer(item: Object, before: Object, *, listed: bool) -> bool:
    """Return whether an object may say something new; one without a version may.

    One that is listed may by the same version: another schema may show it otherwise, without a write or an event.
    """
    version, known = _version(item), _version(before)
    return not version or version > known or (listed and version == known)


def cached_name(kind: str, item: Object) -> str:
    """Return the cache's key: "others" are of several kinds."""
    if kind != "others":
        return key(item)
    return f"{item['metadata'].get('namespace', '')}/{item['kind']}/{item['metadata']['name']}"


def cached_place(document: Manifest) -> tuple[str, str]:
    """Return the cached kind that a document's object is of, and its name there."""
    kind = "deployments" if document["kind"] == "Deployment" else "others"
    return kind, cached_name(kind, document)


def owning_service(item: Object) -> str:
    """Return "namespace/label" of the service that an object is labelled with."""
    label = (item["metadata"].get("labels") or {}).get(SERVICE, "")
    return f"{item['metadata'].get('namespace', '')}/{label}"


def namespace_of(name: str) -> str:
    """Return the namespace of a name in the cache."""
    return name.split("/", 1)[0]
