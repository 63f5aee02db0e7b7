"""The service's own say in the images API: names of models, checked against the profile where a manifest is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from documents import profile_document
from hadis.api.images_api import WELL_KNOWN_MODELS, ImagesApi
from hadis.api.manifest import ManifestError, read_manifest
from hadis.api.resources import API_VERSION


def manifest(folder: Path, **api: Any) -> Path:
    spec = {"profile": "two", "objective": {"latency": "60s"}, "gpus": {"max": 2}, "api": api}
    service = {"apiVersion": API_VERSION, "kind": "DiffusionService", "metadata": {"name": "two"}, "spec": spec}
    path = folder / "manifest.yaml"
    path.write_text(yaml.safe_dump_all([service, profile_document()]))
    return path


def test_without_aliases_the_well_known_models_are_auto() -> None:
    assert ImagesApi().aliases == dict.fromkeys(WELL_KNOWN_MODELS, "auto")
    assert ImagesApi.read({"modelAliases": {"a": "light"}}).aliases == {"a": "light"}
    assert ImagesApi.read({"modelAliases": {}}).aliases == {}


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("gpt-image-1-mini", "auto"),
        ("gpt-image-1.5-2025-12-16", "auto"),
        ("dall-e-3-2023-11-06", "auto"),
        ("chatgpt-image-latest", "auto"),
        ("gpt-image-1-2025", None),
        ("2025-04-23", None),
        ("-2025-04-23", None),
    ],
)
def test_a_date_may_follow_the_name_of_a_model(name: str, target: str | None) -> None:
    assert ImagesApi().aliased(name) == target


def test_a_dated_alias_goes_before_its_name_without_the_date() -> None:
    api = ImagesApi.read({"modelAliases": {"gpt-image-1": "light", "gpt-image-1-2025-04-23": "heavy"}})
    names = ("gpt-image-1", "gpt-image-1-2025-04-23", "gpt-image-1-2026-01-01", "dall-e-3")
    assert [api.aliased(name) for name in names] == ["light", "heavy", "light", None]


@pytest.mark.parametrize(
    ("api", "words"),
    [
        (
            {"modelAliases": {"dall-e-3": "heavi"}},
            "spec.api.modelAliases.dall-e-3: there is no tier 'heavi'; write one of",
        ),
        ({"modelAliases": {"auto": "light"}}, "auto always means that the plan decides; leave it out"),
        ({"modelAliases": {"x" * 64: "light"}}, "at most 63 characters"),
        ({"modelAliases": {f"m{i}": "auto" for i in range(65)}}, "at most 64 items"),
        ({"sizePolicy": "closest"}, "sizePolicy: Input should be 'nearest' or 'exact'"),
        ({"corsOrigins": ["app.example"]}, "corsOrigins.0"),
        ({"corsOrigins": ["https://app.example/"]}, "corsOrigins.0"),
    ],
)
def test_what_cannot_be_meant_is_an_error_of_the_manifest(tmp_path: Path, api: dict[str, Any], words: str) -> None:
    with pytest.raises(ManifestError) as refused:
        read_manifest(manifest(tmp_path, **api))
    assert words in str(refused.value)
    assert str(refused.value).startswith(str(tmp_path))


def test_an_alias_of_a_tier_or_of_auto_is_read(tmp_path: Path) -> None:
    read = read_manifest(manifest(tmp_path, modelAliases={"a": "heavy", "b": "auto"}))
    assert read.service.spec.api.aliases == {"a": "heavy", "b": "auto"}
