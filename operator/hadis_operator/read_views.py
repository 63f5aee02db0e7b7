"""Views of objects that no watch follows: what the operator reads of each when it needs it."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from hadis.kube.client import Object
from hadis.planning.snapshot import Problem
from hadis.protocol.labels import COMPONENT

from hadis_operator.children.common import SECRET_KEY, unpacked
from hadis_operator.differences import Path
from hadis_operator.views import owner_uid


@dataclass(frozen=True)
class SecretView:
    """The Secret of a service."""

    owner: str
    """UID of the DiffusionService that owns it; empty where none does."""
    token: str | None
    """What it holds."""


@dataclass(frozen=True)
class ConfigMapView:
    """A ConfigMap of a service."""

    name: str
    component: str
    text: str | Problem
    """What it holds, unpacked, or why that cannot be read."""


@dataclass(frozen=True)
class ManagedFields:
    """Fields of an object that one manager set, its status aside."""

    manager: str
    applied: bool
    """By server-side apply, so that it owns them."""
    time: str
    """When it wrote last (RFC 3339)."""
    fields: frozenset[Path]


def secret_view(item: Object) -> SecretView:
    """Return the view of a service's Secret; a token that is no base64 of a text is none."""
    held = (item.get("data") or {}).get(SECRET_KEY)
    try:
        token = None if held is None else base64.b64decode(held, validate=True).decode()
    except ValueError:
        token = None
    return SecretView(owner_uid(item), token)


def config_map_view(item: Object) -> ConfigMapView:
    """Return the view of a ConfigMap."""
    try:
        text: str | Problem = unpacked(item)
    except (KeyError, ValueError, OSError, EOFError, zlib.error) as error:
        text = Problem("Unreadable", repr(error))
    meta = item["metadata"]
    return ConfigMapView(meta["name"], (meta.get("labels") or {}).get(COMPONENT, ""), text)


def managed_fields(item: Object) -> tuple[ManagedFields, ...]:
    """Return who set which fields of an object."""
    return tuple(
        ManagedFields(
            manager=entry.get("manager", ""),
            applied=entry.get("operation") == "Apply",
            time=entry.get("time", ""),
            fields=frozenset(_paths(entry.get("fieldsV1"))),
        )
        for entry in item["metadata"].get("managedFields") or ()
        if entry.get("subresource") != "status"
    )


def _paths(fields: object, path: Path = ()) -> Iterator[Path]:
    if isinstance(fields, dict):
        for name, inner in fields.items():
            yield (*path, name)
            yield from _paths(inner, (*path, name))
