"""Pipelines are loaded in the precision that the profile names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from hadis.api.resources import BatchLatency, Tier
from hadis_worker.errors import LoadError
from hadis_worker.pipelines import load_painter, load_pipeline

SCENES = Path(__file__).parents[2] / "examples" / "scenes"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_weights_are_of_the_type_that_was_asked_for(dtype: torch.dtype) -> None:
    pipeline = load_pipeline(str(SCENES / "small"), dtype)
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        assert {weight.dtype for weight in part.parameters()} == {dtype}


def test_a_library_that_ignores_the_type_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    load = DiffusionPipeline.from_pretrained
    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", lambda source, **_: load(source))  # as before 0.40
    with pytest.raises(ValueError, match=r"was loaded as torch.float32, not as torch.bfloat16; diffusers 0.40"):
        load_pipeline(str(SCENES / "small"), torch.bfloat16)
    assert load_pipeline(str(SCENES / "small"), torch.float32)


def test_a_layer_that_stays_wide_and_weights_that_are_narrow_are_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    load = DiffusionPipeline.from_pretrained

    def mixed(source: str, **options: Any) -> Any:
        pipeline = load(source, **options)
        pipeline.unet.time_embedding.to(torch.float32)
        pipeline.text_encoder.to(torch.float8_e4m3fn)
        return pipeline

    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", mixed)
    assert load_pipeline(str(SCENES / "small"), torch.bfloat16)


def test_a_folder_that_is_no_model_is_told_in_one_line(tmp_path: Path) -> None:
    tier = Tier(name="t", model="m", steps=2, size="32x32", latency=(BatchLatency(batch=1, seconds=1),))
    (tmp_path / "m").mkdir()
    with pytest.raises(LoadError, match=r"^tier t: model 'm' cannot be loaded: .*model_index.json") as caught:
        load_painter(tier, tmp_path, "cpu")
    assert "\n" not in str(caught.value)
