"""A tier's settings act in its pipeline, whatever they are called there, or are refused in words."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hadis_worker.arguments import GUIDER, call_settings
from hadis_worker.errors import LoadError
from hadis_worker.loading.tiers import load_painter
from hadis_worker.painter import Call, Pixels
from hadis_worker.pipelines import DiffusersPainter
from tiny_models import TinyModels, tiny_tier


def paint(painter: DiffusersPainter, guidance: float | None = None, negative: str | None = None) -> Pixels:
    negatives = None if negative is None else (negative,)
    with torch.inference_mode():
        return painter.paint(Call(("a cat",), negatives, (0,), 32, 32, 2, guidance)).pixels


def load(tiny: TinyModels, model: str, **fields: Any) -> DiffusersPainter:
    return load_painter(tiny_tier(tiny.get(model), **fields), Path(), "cpu")


def alike(one: Pixels, other: Pixels) -> bool:
    return bool(np.array_equal(one, other))


@pytest.mark.parametrize(("model", "default"), [("sd15", 7.5), ("sdxl", 5.0), ("sd3", 7.0), ("flux-dev", 3.5)])
def test_no_guidance_is_the_pipelines_own_and_0_is_none(tiny: TinyModels, model: str, default: float) -> None:
    painter = load(tiny, model)
    assert alike(paint(painter), paint(painter, default))
    assert not alike(paint(painter), paint(painter, 0))


@pytest.mark.parametrize("model", ["sd15", "sdxl", "sd3"])
def test_negative_prompts_are_taken_where_classifier_free_guidance_is_on(tiny: TinyModels, model: str) -> None:
    guided = load(tiny, model)
    assert guided.takes_negative_prompts
    assert not alike(paint(guided), paint(guided, negative="dog"))
    unguided = load(tiny, model, guidance=1.0)
    assert not unguided.takes_negative_prompts
    assert alike(paint(unguided, 1.0), paint(unguided, 1.0, "dog"))


@pytest.mark.parametrize("model", ["flux-dev", "flux-schnell"])
def test_flux_takes_negative_prompts_under_true_guidance_alone(tiny: TinyModels, model: str) -> None:
    plain, true = load(tiny, model), load(tiny, model, trueGuidance=4.0)
    assert (plain.takes_negative_prompts, plain.default_negative_prompt) == (False, None)
    assert alike(paint(plain), paint(plain, negative="dog"))
    assert (true.takes_negative_prompts, true.default_negative_prompt) == (True, "")
    assert not alike(paint(true, negative=""), paint(true, negative="dog"))
    assert not alike(paint(true, negative=""), paint(plain))


def test_further_arguments_and_the_prompts_length_reach_the_pipeline(tiny: TinyModels) -> None:
    plain = paint(load(tiny, "sd3"))
    assert not alike(plain, paint(load(tiny, "sd3", maxSequenceLength=2)))
    assert not alike(plain, paint(load(tiny, "sd3", call={"prompt_2": ["a dog"]})))


NO_MAX = "maxSequenceLength: StableDiffusionXLPipeline has no max_sequence_length; leave it out"


@pytest.mark.parametrize(
    ("model", "fields", "words"),
    [
        ("flux-schnell", {"guidance": 3.5}, "guidance: does nothing in this FluxPipeline; leave it out, or write true"),
        ("sdxl", {"trueGuidance": 4}, "trueGuidance: StableDiffusionXLPipeline has no true_cfg_scale; write guidance"),
        ("sdxl", {"maxSequenceLength": 256}, NO_MAX),
        ("sdxl", {"guidance": 1, "negativePrompt": "blurry"}, "negativePrompt: does nothing .* write guidance over 1"),
        ("flux-dev", {"negativePrompt": "blurry"}, "negativePrompt: does nothing .* write trueGuidance over 1"),
        ("sdxl", {"call": {"guidance_rescal": 0.7}}, r"call\.guidance_rescal: no argument .* is it guidance_rescale\?"),
        ("sdxl", {"call": {"kwargs": 1}}, r"call\.kwargs: no argument of StableDiffusionXLPipeline"),
        ("sdxl", {"call": {"guidance_scale": 7}}, r"call\.guidance_scale: write the tier's guidance"),
        ("sdxl", {"call": {"generator": 7}}, r"call\.generator: HADIS sets it"),
    ],
)
def test_what_a_pipeline_cannot_honour_is_told_in_one_line(
    tiny: TinyModels, model: str, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(LoadError, match=f"^tier t: {words}") as caught:
        load(tiny, model, **fields)
    assert "\n" not in str(caught.value)


class Qwen:
    """Calls of a pipeline whose only guidance needs a negative prompt, as Qwen-Image's signature has it."""

    components: ClassVar[dict[str, Any]] = {}

    transformer = SimpleNamespace(config={"guidance_embeds": False})

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(
        self, prompt: Any = None, negative_prompt: Any = None, true_cfg_scale: float = 4.0, guidance_scale: Any = None
    ) -> Any:
        """Return grey."""
        self.calls.append({"negative": negative_prompt, "scale": true_cfg_scale, "other": guidance_scale})
        return SimpleNamespace(images=np.zeros((1, 32, 32, 3)))


def test_guidance_is_true_guidance_where_that_alone_acts() -> None:
    pipeline = Qwen()
    default = DiffusersPainter(pipeline, tiny_tier("m"))
    assert (default.takes_negative_prompts, default.default_negative_prompt) == (True, "")
    off = DiffusersPainter(pipeline, tiny_tier("m", guidance=1))
    assert not off.takes_negative_prompts
    paint(default, None, default.default_negative_prompt)
    paint(off, 1.0)
    assert pipeline.calls == [
        {"negative": [""], "scale": 4.0, "other": None},
        {"negative": None, "scale": 1.0, "other": None},
    ]
    with pytest.raises(LoadError, match="trueGuidance: is what guidance means in this Qwen; write one of them"):
        DiffusersPainter(pipeline, tiny_tier("m", guidance=3, trueGuidance=4))


class Hunyuan:
    """A pipeline that is guided by a component where its model is not distilled, as HunyuanImage's signature has it."""

    components: ClassVar[dict[str, Any]] = {}

    def __init__(self, distilled: bool) -> None:
        self.transformer = SimpleNamespace(config={"guidance_embeds": distilled})
        self.guider = None if distilled else SimpleNamespace(guidance_scale=3.5)
        self.ocr_guider = None if distilled else SimpleNamespace(guidance_scale=5.0)

    def __call__(
        self, prompt: Any = None, negative_prompt: Any = None, distilled_guidance_scale: float | None = 3.25
    ) -> Any:
        """Return pixels that tell the scales."""
        scale = self.guider.guidance_scale if self.guider else distilled_guidance_scale
        return SimpleNamespace(images=np.full((1, 32, 32, 3), scale))


def test_guidance_by_another_name_and_by_a_guider() -> None:
    distilled = DiffusersPainter(Hunyuan(distilled=True), tiny_tier("m", guidance=2))
    assert not distilled.takes_negative_prompts
    assert paint(distilled, 2.0).max() == 2.0
    shared = Hunyuan(distilled=False)
    own, weak = (DiffusersPainter(shared, tiny_tier("m", guidance=guidance)) for guidance in (None, 1.5))
    assert [paint(own).max(), paint(weak, 1.5).max(), paint(own).max()] == [3.5, 1.5, 3.5]
    assert getattr(shared.ocr_guider, "guidance_scale", None) == 5.0
    paint(weak, 1.5)
    assert getattr(shared.ocr_guider, "guidance_scale", None) == 1.5  # it guides prompts with words to paint
    assert own.takes_negative_prompts
    assert call_settings(tiny_tier("m"), shared).guidance == GUIDER


class Klein:
    """A pipeline that guides unless its model was distilled, as FLUX.2 klein does."""

    components: ClassVar[dict[str, Any]] = {}

    def __init__(self, distilled: bool) -> None:
        self.transformer = SimpleNamespace(config={"guidance_embeds": False})
        self.distilled, self._guidance_scale = distilled, 0.0

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Return whether it guides."""
        return self._guidance_scale > 1 and not self.distilled

    def __call__(self, prompt: Any = None, guidance_scale: float = 4.0) -> Any:
        """Return nothing."""


def test_a_distilled_model_says_that_it_does_not_guide() -> None:
    assert call_settings(tiny_tier("m", guidance=4), Klein(distilled=False)).guidance == "guidance_scale"
    assert call_settings(tiny_tier("m", guidance=1), Klein(distilled=True)).guidance is None
    with pytest.raises(LoadError, match=r"guidance: does nothing in this Klein; leave it out$"):
        call_settings(tiny_tier("m", guidance=4), Klein(distilled=True))
