"""Whether an object lacks something of what we want; what others added is left alone. Pure.

Lists are read as server-side apply reads them: those with a merge key are sets of entries, of which others may own
some; any other is one value, which whoever applies it owns whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hadis.api.quantities import parse_quantity

_MERGE_KEYS: dict[str, tuple[tuple[str, ...], ...]] = {
    **dict.fromkeys(("containers", "initContainers", "env", "volumes", "imagePullSecrets"), (("name",),)),
    **dict.fromkeys(("claims", "resourceClaims"), (("name",),)),
    "ownerReferences": (("uid",),),
    "ports": (("containerPort", "protocol"), ("port", "protocol")),
    "topologySpreadConstraints": (("topologyKey", "whenUnsatisfiable"),),
    "volumeMounts": (("mountPath",),),
}
"""By a list's name, the fields that its entries are told apart by: the first of these that all entries have."""

Path = tuple[str, ...]
"""Where a field is, as managedFields writes it: f:NAME in a map, k:{...} in a list with a merge key."""


def differs(desired: Any, observed: Any) -> bool:
    """Return whether an object lacks something of what is desired."""
    return next(differences(desired, observed), None) is not None


def differences(desired: Any, observed: Any, path: Path = (), *, whole: bool = False) -> Iterator[Path]:
    """Yield where an object is not as desired; `whole` is whether it is part of a list that has one owner."""
    if isinstance(desired, dict):
        if not isinstance(observed, dict):
            observed = {}
        for name, value in desired.items():
            yield from _field_differences(name, value, observed.get(name), (*path, f"f:{name}"), whole=whole)
    elif desired != observed and (observed is None or _amount(desired) != _amount(observed)):
        yield path


def _field_differences(name: str, desired: Any, observed: Any, path: Path, *, whole: bool) -> Iterator[Path]:
    if not isinstance(desired, list):
        if isinstance(desired, dict) and desired and not isinstance(observed, dict):
            yield path
        else:
            yield from differences(desired, observed, path, whole=whole)
        return
    observed = observed if isinstance(observed, list) else []
    keys = None if whole else _merge_key(name, desired)
    if keys is not None:
        present = {_entry(item, keys): item for item in observed}
        for item in desired:
            entry = _entry(item, keys)
            if entry in present:
                yield from differences(item, present[entry], (*path, entry))
            else:
                yield (*path, entry)
    elif len(desired) != len(observed) or any(
        next(differences(a, b, whole=True), None) is not None for a, b in zip(desired, observed, strict=True)
    ):
        yield path


def restricted(desired: Any, answer: Any, name: str = "", *, whole: bool = False) -> Any:
    """Return what an answer of the API server has of the fields that were desired.

    It is not always what was asked for: admission may have changed it, and would again.
    """
    if isinstance(desired, dict) and isinstance(answer, dict):
        fields = {each: value for each, value in desired.items() if each in answer}
        return {each: restricted(value, answer[each], each, whole=whole) for each, value in fields.items()}
    if isinstance(desired, list) and isinstance(answer, list):
        keys = None if whole else _merge_key(name, desired)
        if keys is None:
            return answer
        present = {_entry(item, keys): item for item in answer}
        return [restricted(item, present[e]) for item in desired if (e := _entry(item, keys)) in present]
    return answer


def _merge_key(name: str, entries: list[Any]) -> tuple[str, ...] | None:
    """Return the fields that a list's entries are told apart by; None for a list that has one owner."""
    for keys in _MERGE_KEYS.get(name, ()):
        if all(isinstance(item, dict) and all(key in item for key in keys) for item in entries):
            return keys
    return None


def _entry(item: Any, keys: tuple[str, ...]) -> str:
    """Return an entry's place in its list."""
    named = {key: item.get(key) for key in sorted(keys)} if isinstance(item, dict) else {}
    return f"k:{json.dumps(named, separators=(',', ':'))}"


def _amount(value: Any) -> Any:
    """Return a quantity as a number: the API server writes 1000m as 1."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    try:
        return parse_quantity(str(value))
    except ValueError:
        return value
