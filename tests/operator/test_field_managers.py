"""Who else writes to an object."""

from __future__ import annotations

from typing import Any

import pytest
from hadis_operator.differences import Path
from hadis_operator.field_managers import MANAGER, other_manager, owns, readable
from hadis_operator.read_views import managed_fields

COUNT: Path = ("f:spec", "f:replicas")
OWNED: dict[str, Any] = {"f:spec": {"f:replicas": {}}}


def entry(manager: str, fields: Any = OWNED, minute: int = 0, **more: str) -> dict[str, Any]:
    time = f"2026-01-01T00:{minute:02}:00Z"
    return {"manager": manager, "operation": "Update", "time": time, "fieldsV1": fields, **more}


@pytest.mark.parametrize(
    ("entries", "who"),
    [
        ([entry("rival"), entry("later", {}, 9)], "rival"),
        ([entry("first"), entry("rival", minute=1)], "rival"),
        ([entry("remover", {"f:spec": {}}, 1), entry("other", {})], "remover"),
        ([entry(MANAGER), entry("controller", subresource="status")], "another manager"),
        ([entry("scaler", subresource="scale")], "scaler"),
        (None, "another manager"),
    ],
)
def test_the_other_is_who_owns_the_field_or_else_wrote_last(entries: Any, who: str) -> None:
    assert other_manager(managed_fields({"metadata": {"managedFields": entries}}), COUNT) == who


@pytest.mark.parametrize(
    ("entries", "ours"),
    [
        ([entry(MANAGER, operation="Apply")], True),
        ([entry(MANAGER)], False),
        ([entry("other", operation="Apply")], False),
        ([entry(MANAGER, {"f:spec": {}}, operation="Apply")], False),
        ([], False),
    ],
)
def test_a_field_is_ours_where_we_have_applied_it(entries: Any, ours: bool) -> None:
    assert owns(managed_fields({"metadata": {"managedFields": entries}}), MANAGER, COUNT) is ours


def test_paths_are_told_as_people_write_them() -> None:
    path = ("f:spec", "f:containers", 'k:{"name":"router"}', "f:env", 'k:{"name":"A"}', "f:value")
    assert readable(path) == "spec.containers[router].env[A].value"
