"""A profile as a document in the compact form: grids, and rows only for what no grid can say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from hadis.api.cascade_profile import CascadeProfile, Configuration
from hadis.api.cascades import Cascade


def compact_document(profile: CascadeProfile) -> dict[str, Any]:
    """Return a profile as a document that reads as the same profile."""
    cascades, rest = _split(profile.spec.configurations)
    spec = profile.spec.model_copy(update={"configurations": (), "cascades": ()})
    document: dict[str, Any] = profile.model_dump(mode="json", by_alias=True, exclude={"spec"}, exclude_none=True)
    document["spec"] = _written(spec)
    document["spec"] |= {"cascades": [_written(c) for c in cascades]} if cascades else {}
    document["spec"] |= {"configurations": [_written(row) for row in rest]} if rest else {}
    return document


def content_hash(profile: CascadeProfile) -> str:
    """Return a hash of the spec alone, the same on every machine and in whatever form and order its rows stand."""
    spec = compact_document(profile)["spec"]
    for table in ("cascades", "configurations"):
        spec[table] = sorted(json.dumps(row, sort_keys=True) for row in spec.get(table, ()))
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _written(model: Any) -> dict[str, Any]:
    written: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return written


def _split(rows: Iterable[Configuration]) -> tuple[list[Cascade], list[Configuration]]:
    """Return the grids, and the rows that are in none or have a measure that their grid leaves out."""
    cascades, rest = [], []
    for of_cascade in _by_cascade(rows):
        grid = Cascade.of_rows([row.__dict__ for row in of_cascade])
        if grid is None:
            rest += of_cascade
        else:
            cascades.append(grid)
            rest += [row for row in of_cascade if row.measures.keys() != grid.measures.keys()]
    return cascades, rest


def _by_cascade(rows: Iterable[Configuration]) -> Iterator[list[Configuration]]:
    groups: dict[tuple[str, str, bool], list[Configuration]] = {}
    for row in rows:
        groups.setdefault((row.light, row.heavy, row.best_of_two), []).append(row)
    yield from groups.values()
