"""Strategic merge patches as `kubectl patch` applies them, of pods: lists whose items have names are merged by them.

What is merged has been looked at before (`hadis.api.pod_template`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hadis.api.pod_template import MERGE_KEYS

_DIRECTIVE = "$patch"


def merged(base: Any, patch: Any, field: str = "") -> Any:
    """Return a document with a patch merged into it; `field` is where in a pod it stands.

    A null takes a field away, `$patch: delete` an item of a list, and `$patch: replace` keeps nothing of the former.
    """
    if isinstance(patch, Mapping):
        return _merged_maps(base if isinstance(base, Mapping) else {}, patch)
    if isinstance(patch, list | tuple) and field in MERGE_KEYS:
        return _merged_lists(base if isinstance(base, list) else [], patch, MERGE_KEYS[field])
    return patch


def _merged_maps(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    result = {} if patch.get(_DIRECTIVE) == "replace" else dict(base)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif name != _DIRECTIVE:
            result[name] = merged(result.get(name), value, name)
    return result


def _merged_lists(base: list[Any], patch: list[Any] | tuple[Any, ...], key: str) -> list[Any]:
    result = {item[key]: item for item in base}
    for item in patch:
        if item.get(_DIRECTIVE) == "delete":
            result.pop(item[key], None)
        else:
            result[item[key]] = _merged_maps(result.get(item[key], {}), item)
    return list(result.values())
