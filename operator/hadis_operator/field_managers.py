"""Who else writes to an object, as its managedFields say. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hadis.kube.client import Object

from hadis_operator.differences import Path

MANAGER = "hadis-operator"


def owns(item: Object, manager: str, path: Path) -> bool:
    """Return whether a manager that applies owns a field of an object."""
    return any(
        entry.get("manager") == manager and entry.get("operation") == "Apply" and _has(entry.get("fieldsV1"), path)
        for entry in _entries(item)
    )


def other_manager(item: Object, path: Path) -> str:
    """Return who owns a field in our place; where nobody does, who else wrote to the object last."""
    others = [entry for entry in _entries(item) if entry.get("manager") != MANAGER]
    owners = [entry for entry in others if _has(entry.get("fieldsV1"), path)]
    latest = max(owners or others, key=lambda entry: entry.get("time", ""), default={})
    return str(latest.get("manager") or "another manager")


def readable(path: Path) -> str:
    """Return a path as people write it: spec.template.spec.containers[router].image."""
    text = ""
    for part in path:
        text += f".{part[2:]}" if part.startswith("f:") else f"[{part[3:-1]}]"
    return text.removeprefix(".").replace('"', "").replace("name:", "")


def _entries(item: Object) -> Iterator[dict[str, Any]]:
    """Yield who manages what of an object, its status aside."""
    for entry in item["metadata"].get("managedFields") or ():
        if entry.get("subresource") != "status":
            yield entry


def _has(fields: Any, path: Path) -> bool:
    for part in path:
        if not isinstance(fields, dict) or part not in fields:
            return False
        fields = fields[part]
    return True
