"""What a pipeline says of its images beside their pixels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from hadis.api.tier import BatchLatency, Tier
from hadis_worker.painter import Call
from hadis_worker.pipelines import DiffusersPainter
from transformers import CLIPConfig, CLIPImageProcessor

SCENES = Path(__file__).parents[2] / "examples" / "scenes"
TIER = Tier(name="t", model="small", steps=1, size="32x32", latency=(BatchLatency(batch=1, seconds=1),))


@pytest.mark.parametrize(("threshold", "filtered"), [(-2.0, [True, True]), (2.0, [False, False])])
def test_what_a_pipelines_safety_checker_says_is_told(threshold: float, filtered: list[bool]) -> None:
    """Concepts count as found where they are nearer than a threshold: below -1 all are, above 1 none is."""
    pipeline = DiffusionPipeline.from_pretrained(str(SCENES / "small"), dtype=torch.float32)
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    vision = {**small, "image_size": 8, "patch_size": 4}
    checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, text_config=small, projection_dim=8))
    for weights in (checker.concept_embeds_weights, checker.special_care_embeds_weights):
        weights.data.fill_(threshold)
    processor = CLIPImageProcessor(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8})
    pipeline.register_modules(safety_checker=checker, feature_extractor=processor)
    painted = DiffusersPainter(pipeline, TIER).paint(Call(("a", "b"), None, (0, 1), 32, 32, 1, 1.0))
    assert painted.filtered == filtered
    assert bool((painted.pixels == 0).all()) is filtered[0]
