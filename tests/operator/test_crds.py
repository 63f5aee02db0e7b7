"""Generated files are what their sources generate, and teach: `kubectl explain` has a text for every field."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hadis.api.crd import chart_text, definitions, texts
from hadis.api.resources import ServiceSpec

ROOT = Path(__file__).parents[2]
THE_API_SERVERS_OWN = ("apiVersion", "kind", "metadata")


def test_the_crds_of_folder_and_chart_are_those_of_the_models() -> None:
    for plural, text in texts().items():
        assert (ROOT / f"crds/{plural}.yaml").read_text() == text, "run `make crds`"
        assert (ROOT / f"helm/hadis/templates/crd-{plural}.yaml").read_text() == chart_text(text), "run `make crds`"


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every field below a schema with its path, through lists and maps."""
    for name, field in schema.get("properties", {}).items():
        yield f"{path}{name}", field
        yield from fields(field, f"{path}{name}.")
    for part in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(part, dict):
            yield from fields(part, path.removesuffix(".") + "[].")


@pytest.mark.parametrize("plural", definitions())
def test_every_field_is_described_at_every_level(plural: str) -> None:
    (version,) = definitions()[plural]["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]["properties"]
    assert schema.keys() == {*THE_API_SERVERS_OWN, "spec", "status"}
    described = [each for part in ("spec", "status") for each in fields({"properties": {part: schema[part]}})]
    assert {"spec", "status"} < {path for path, _ in described}, "the walk goes down"
    assert max(path.count(".") for path, _ in described) >= 2, "and further"
    assert [path for path, field in described if not field.get("description", "").endswith(".")] == []


def test_rates_are_per_something() -> None:
    """As "GPU seconds per request"; "a request" is read twice."""
    for crd in definitions().values():
        for path, field in fields(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]):
            words = field.get("description", "")
            assert not [w for w in ("seconds a ", "requests a ", "tier a ", "series a ", "image a ") if w in words], (
                path
            )


def test_the_kubernetes_example_carries_the_measured_profile() -> None:
    example = (ROOT / "examples/kubernetes/scenes.yaml").read_text()
    assert example.endswith((ROOT / "examples/scenes/profile.yaml").read_text())


def with_defaults(schema: dict[str, Any], value: Any) -> Any:
    """Return a value with the defaults that the API server fills in."""
    if not isinstance(value, dict):
        return value
    parts = schema.get("properties", {})
    filled = {name: part["default"] for name, part in parts.items() if "default" in part} | value
    return {name: with_defaults(parts.get(name, {}), each) for name, each in filled.items()}


def test_what_the_api_server_fills_in_changes_nothing() -> None:
    versions = definitions()["diffusionservices"]["spec"]["versions"]
    schema = versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec = {"profile": "two", "objective": {"latency": "4s"}, "gpus": {"max": 2}}
    assert ServiceSpec.read(with_defaults(schema, spec)) == ServiceSpec.read(spec)
