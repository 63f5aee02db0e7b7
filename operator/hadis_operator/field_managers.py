"""Who else writes to an object, as its managedFields say. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from hadis_operator.differences import Path
from hadis_operator.read_views import ManagedFields

MANAGER = "hadis-operator"


def owns(managed: Iterable[ManagedFields], manager: str, path: Path) -> bool:
    """Return whether a manager that applies owns a field of an object."""
    return any(each.manager == manager and each.applied and path in each.fields for each in managed)


def other_manager(managed: Iterable[ManagedFields], path: Path) -> str:
    """Return who owns a field in our place; where nobody does, who else wrote to the object last."""
    others = [each for each in managed if each.manager != MANAGER]
    owners = [each for each in others if path in each.fields]
    latest = max(owners or others, key=lambda each: each.time, default=None)
    return (latest.manager if latest else "") or "another manager"


def readable(path: Path) -> str:
    """Return a path as people write it: spec.template.spec.containers[router].image."""
    text = ""
    for part in path:
        text += f".{part[2:]}" if part.startswith("f:") else f"[{part[3:-1]}]"
    return text.removeprefix(".").replace('"', "").replace("name:", "")
