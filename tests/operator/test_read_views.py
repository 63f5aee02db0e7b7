"""What is read from objects that no watch follows."""

from __future__ import annotations

from typing import Any

import pytest
from hadis.planning.snapshot import Problem
from hadis_operator.children.common import Owner, config_map, packed
from hadis_operator.read_views import SecretView, config_map_view, managed_fields, secret_view
from kube_objects import NAMESPACE, OWNER_UID, OWNERS

OWNED = {"metadata": {"name": "x", "ownerReferences": OWNERS}}


@pytest.mark.parametrize(
    ("item", "view"),
    [
        (OWNED | {"data": {"token": "dG9rZW4="}}, SecretView(OWNER_UID, "token")),
        (OWNED | {"data": None}, SecretView(OWNER_UID, None)),
        ({"metadata": {"name": "x"}}, SecretView("", None)),
    ],
)
def test_a_secret_has_an_owner_and_what_it_holds(item: dict[str, Any], view: SecretView) -> None:
    assert secret_view(item) == view


def test_a_config_map_holds_a_text_however_it_was_packed_or_says_why_not() -> None:
    owner = Owner("images", NAMESPACE, OWNER_UID)
    for content in ("text", packed("text")):
        view = config_map_view(config_map(owner, "profile", content, "1"))
        assert (view.name, view.component, view.text) == ("images-profile-1", "profile", "text")
    broken = config_map_view({"metadata": {"name": "c", "labels": None}, "data": {"other": "x"}})
    assert broken.component == ""
    assert isinstance(broken.text, Problem)
    assert "manifest.yaml" in broken.text.message


def test_fields_are_told_by_their_paths_and_those_of_the_status_are_not() -> None:
    entry = {"manager": "m", "operation": "Apply", "time": "t", "fieldsV1": {"f:a": {"f:b": {}}}}
    (managed,) = managed_fields({"metadata": {"managedFields": [entry, entry | {"subresource": "status"}]}})
    assert (managed.manager, managed.applied, set(managed.fields)) == ("m", True, {("f:a",), ("f:a", "f:b")})
    assert managed_fields({"metadata": {}}) == ()
