"""The tiers that documents and examples name are loaded, from models of the same layout in the place of theirs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hadis.api.tier import TierSettings
from hadis_worker.loading.tiers import load_painters
from tiny_models import TinyModels, tiny_tier

ROOT = Path(__file__).parents[2]
LAYOUTS = {
    "stabilityai/stable-diffusion-xl-base-1.0": "sdxl",
    "ByteDance/SDXL-Lightning": "lightning",
    "stabilityai/stable-diffusion-3.5-large": "sd3",
    "stabilityai/stable-diffusion-3.5-medium": "sd3",
    "stabilityai/stable-diffusion-3.5-large-turbo": "sd3",
}


def job() -> list[object]:
    documents = yaml.safe_load_all((ROOT / "examples/kubernetes/profile-job.yaml").read_text())
    return list(yaml.safe_load(next(documents)["data"]["spec.yaml"])["tiers"])


def guide() -> list[object]:
    text = (ROOT / "docs/profiling.md").read_text().split("```yaml\n")[1].split("```")[0]
    return list(yaml.safe_load(text)["tiers"])


def paper() -> list[object]:
    spec = yaml.safe_load((ROOT / "examples/paper/profile.yaml").read_text())["spec"]
    return [{k: v for k, v in tier.items() if k in ALIASES} for tier in spec["tiers"]]


ALIASES = {field.alias or name for name, field in TierSettings.model_fields.items()}


@pytest.mark.parametrize("tiers", [job(), guide(), paper()], ids=["job", "guide", "paper"])
def test_the_tiers_of_examples_load(tiers: list[object], tiny: TinyModels, tmp_path: Path) -> None:
    for name, layout in LAYOUTS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(tiny.get(layout))
    read = [TierSettings.read(tier) for tier in tiers]
    painters = load_painters([tiny_tier(**tier.model_dump()) for tier in read], tmp_path, "cpu")
    assert painters.keys() == {tier.name for tier in read}
    assert not painters["sdxl-lightning"].takes_negative_prompts
    assert painters["sd35-large"].takes_negative_prompts
