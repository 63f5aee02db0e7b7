"""A tier says who looks at what its images show: the model's own checker, none, or one from elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from hadis.protocol.worker import GenerateBatch, WireJob
from hadis_worker.engine import Engine
from hadis_worker.errors import LoadError
from hadis_worker.loading.modules import Modules
from hadis_worker.loading.tiers import load_painters, load_pipeline
from tiny_models import TinyModels, tiny_tier
from transformers import CLIPConfig, CLIPImageProcessor

ALL, NOTHING = -2.0, 2.0
"""Concepts count as found where they are nearer than a threshold: below -1 all are, above 1 none is."""


def write_checker(folder: Path, threshold: float) -> None:
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    vision = {**small, "image_size": 8, "patch_size": 4}
    checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, text_config=small, projection_dim=8))
    for weights in (checker.concept_embeds_weights, checker.special_care_embeds_weights):
        weights.data.fill_(threshold)
    checker.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8}).save_pretrained(folder)


@pytest.fixture
def folder(tiny: TinyModels, tmp_path: Path) -> Path:
    """A folder with an SD 1.5 that brings a checker which filters everything, an SDXL, and two checkers."""
    write_checker(tmp_path / "strict", ALL)
    write_checker(tmp_path / "lenient", NOTHING)
    checked = tmp_path / "checked"
    shutil.copytree(tiny.get("sd15"), checked)
    write_checker(checked / "safety_checker", ALL)
    (checked / "feature_extractor").mkdir()
    (checked / "safety_checker/preprocessor_config.json").rename(checked / "feature_extractor/preprocessor_config.json")
    index = json.loads((checked / "model_index.json").read_text())
    index |= {
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
    }
    (checked / "model_index.json").write_text(json.dumps(index))
    (tmp_path / "sdxl").symlink_to(tiny.get("sdxl"))
    return tmp_path


def make(folder: Path, model: str, **fields: Any) -> tuple[str | None, np.ndarray[Any, Any] | None]:
    """Return the error of a job, and the image."""
    tier = tiny_tier(model, **fields)
    engine = Engine([tier], load_painters([tier], folder, "cpu"))
    engine.warm_up(tier)
    [(result, image)] = engine.generate(GenerateBatch(tier="t", jobs=(WireJob(id="0", prompt="a cat", seed=0),)))
    return result.error_code, None if image is None else np.asarray(image)


@pytest.mark.parametrize(
    ("model", "fields", "error"),
    [
        ("checked", {}, "content_filtered"),
        ("checked", {"safety": False}, None),
        ("checked", {"safety": "lenient"}, None),
        ("checked", {"safety": "strict"}, "content_filtered"),
        ("sdxl", {}, None),
        ("sdxl", {"safety": "strict"}, "content_filtered"),
        ("sdxl", {"safety": "lenient"}, None),
    ],
)
def test_the_checker_that_a_tier_names_looks_at_its_images(
    folder: Path, model: str, fields: dict[str, Any], error: str | None
) -> None:
    code, image = make(folder, model, **fields)
    assert code == error
    assert (image is None) is (error is not None)
    if image is not None:
        assert image.max() > 0


def test_a_checker_that_is_not_asked_for_takes_no_memory_and_the_rest_is_shared(folder: Path) -> None:
    modules = Modules()
    own, none = (
        load_pipeline(tiny_tier("checked", **fields), folder, torch.float32, modules)
        for fields in ({}, {"safety": "off"})
    )
    assert own.safety_checker is not None
    assert none.safety_checker is None
    assert none.unet is own.unet


@pytest.mark.parametrize(
    ("model", "fields", "words"),
    [
        ("checked", {}, None),
        ("checked", {"safety": "off"}, "tier t: safety is off: nobody checks what its images show"),
        ("sdxl", {}, "tier t: its model brings no safety checker: nobody checks what its images show"),
        ("sdxl", {"safety": "lenient"}, None),
    ],
)
def test_it_is_said_where_nobody_looks(
    folder: Path, model: str, fields: dict[str, Any], words: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    load_painters([tiny_tier(model, **fields)], folder, "cpu")
    assert [record.getMessage() for record in caplog.records if "nobody checks" in record.getMessage()] == (
        [words] if words else []
    )


def test_a_checker_that_is_none_is_one_line(folder: Path) -> None:
    with pytest.raises(
        LoadError, match=r"^tier t: model 'sdxl' cannot be loaded: safety: 'checked' cannot be loaded: "
    ) as caught:
        load_painters([tiny_tier("sdxl", safety="checked")], folder, "cpu")
    assert "write model, off, or a checker" in str(caught.value)
    assert "\n" not in str(caught.value)
