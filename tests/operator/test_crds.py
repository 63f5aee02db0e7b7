"""Generated files are what their sources generate."""

from __future__ import annotations

from pathlib import Path

from hadis.api.crd import chart_text, definitions, texts

ROOT = Path(__file__).parents[2]


def test_the_crds_of_folder_and_chart_are_those_of_the_models() -> None:
    for plural, text in texts().items():
        assert (ROOT / f"crds/{plural}.yaml").read_text() == text, "run `make crds`"
        assert (ROOT / f"helm/hadis/templates/crd-{plural}.yaml").read_text() == chart_text(text), "run `make crds`"


def test_every_field_that_a_person_writes_is_described_or_plain() -> None:
    spec = definitions()["diffusionservices"]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    missing = [name for name, field in spec["properties"].items() if "description" not in field]
    assert missing == []


def test_the_kubernetes_example_carries_the_measured_profile() -> None:
    example = (ROOT / "examples/kubernetes/scenes.yaml").read_text()
    assert example.endswith((ROOT / "examples/scenes/profile.yaml").read_text())
