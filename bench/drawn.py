"""Images of the example models for prompts of their profile run: whole, in fewer steps, refined, and unfinished.

Whole ones are those that `make scenes-profile` made; the others are made here, once, and kept beside them.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from hadis.api.pipeline import width_height
from hadis_profiler.offline import images, store
from hadis_profiler.offline.engines import as_tier
from hadis_profiler.offline.notes import RoutingNote, notes_path, read_notes
from hadis_profiler.offline.prompts import read_prompts
from hadis_profiler.offline.spec import SpecError, read_run
from hadis_profiler.scenes.scorer import SceneScorer
from hadis_worker.discriminator import Discriminator, load_discriminator
from hadis_worker.loading.modules import Modules
from hadis_worker.loading.tiers import load_pipeline
from hadis_worker.previews.watch import LatentsWatch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).parents[1]
PROFILE = ROOT / "examples/scenes/profile.yaml"
RUN = read_run(PROFILE.with_name("profile-run.yaml"), ROOT / "build/scenes/profile.work")
TIERS = {tier.name.removeprefix("scenes-"): tier for tier in RUN.spec.tiers}
_DRAWN = RUN.work / "drawn"
_BATCH = 32

Array = NDArray[np.float64]
Numbers = NDArray[np.intp]
"""Of prompts in the run's file."""
Pixels = NDArray[np.uint8]
"""Images (n, height, width, 3)."""


@functools.cache
def prompts() -> tuple[str, ...]:
    """Return the run's prompts; raise SystemExit where its images are missing or of others."""
    texts = read_prompts(RUN).texts
    try:
        lacking = [tier for tier in TIERS.values() if images.missing(RUN, tier, len(texts))]
        for tier in TIERS.values():
            images.folder_of(RUN, tier, texts)
    except SpecError as error:
        raise SystemExit(str(error)) from None
    if lacking:
        raise SystemExit(f"{RUN.work} lacks images of {lacking[0].name}: run `make scenes-profile` first")
    return tuple(texts)


def texts_of(which: Numbers) -> list[str]:
    """Return some of the prompts."""
    return [prompts()[i] for i in which]


def judge_s() -> float:
    """Return the GPU seconds per image of the discriminator, as the committed profile has them."""
    return _measured().judge_s


def image_s(tier: str, steps: int | None = None) -> float:
    """Return the GPU seconds per image of a tier, in its own number of steps or another.

    A model's evaluations take alike, and so does the rest of an image (text, decoding): the line through the model's
    tiers in the committed profile says what both are.
    """
    if steps in (None, TIERS[tier].steps):
        return _measured_s(tier)
    alike = [name for name in TIERS if TIERS[name].model == TIERS[tier].model]
    measured = [_measured_s(name) for name in alike]
    line = np.polyfit([_evaluations(name, TIERS[name].steps) for name in alike], measured, 1)
    return float(np.polyval(line, _evaluations(tier, steps)))


def _measured_s(tier: str) -> float:
    return _measured().image_s[list(TIERS).index(tier)]


def _evaluations(tier: str, steps: int) -> int:
    """Return how often the model is evaluated for an image: with guidance, twice per step."""
    return steps * (2 if (TIERS[tier].guidance or 1) > 1 else 1)


@functools.cache
def _measured() -> RoutingNote:
    notes = read_notes(notes_path(PROFILE))
    if notes is None or notes.routing is None:
        raise SystemExit(f"{notes_path(PROFILE)} has no prompts one by one: run `make scenes-profile` first")
    return notes.routing


def as_images(pixels: Pixels) -> list[Image.Image]:
    """Return arrays as images."""
    return [Image.fromarray(each) for each in pixels]


@functools.cache
def scorer() -> SceneScorer:
    """Return who knows which images are right."""
    return SceneScorer(RUN.folder)


def right(which: Numbers, pixels: Pixels) -> Array:
    """Return 1 for each image that shows its prompt, else 0 (n,)."""
    scores = scorer().scores(texts_of(which), as_images(pixels))
    assert scores is not None
    return scores


@functools.cache
def _shipped() -> Discriminator:
    return load_discriminator(RUN.folder / "discriminator")


def confidences(tier: str, which: Numbers, pixels: Pixels) -> Array:
    """Return the shipped discriminator's confidence in each image of a tier (n,)."""
    return np.array(_shipped().confidence(as_images(pixels), texts_of(which), TIERS[tier].name))


def whole(tier: str, which: Numbers) -> Pixels:
    """Return a tier's images of some prompts."""
    return np.stack([np.asarray(image) for image in images.read_images(RUN, TIERS[tier], which.tolist())])


def in_steps(tier: str, which: Numbers, steps: int) -> Pixels:
    """Return a tier's images of some prompts in another number of steps than its own."""
    return _kept(f"{tier}-in-{steps}", which, lambda part: _made(_pipeline(tier), tier, part, steps=steps))


def refined(tier: str, which: Numbers, light: str, strength: float) -> Pixels:
    """Return what a tier makes of a light tier's images in the last `strength` of its steps."""
    pipeline = StableDiffusionImg2ImgPipeline(**_pipeline(tier).components, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)

    def make(part: Numbers) -> Pixels:
        return _made(pipeline, tier, part, image=as_images(whole(light, part)), strength=strength)

    return _kept(f"{tier}-from-{light}-{strength}", which, make)


def stages(tier: str, which: Numbers, after: Sequence[int]) -> dict[int, Pixels]:
    """Return what a tier's images are predicted to become when some of its steps are made, by their number."""
    pipeline, watch = _pipeline(tier), LatentsWatch()

    def make(part: Numbers) -> Pixels:
        predicted: list[Pixels] = []

        def look(_: Any, step: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            if step + 1 in after and watch.clean is not None:
                predicted.append(_decoded(pipeline, watch.clean))
            return tensors

        with watch.steps_of(pipeline.scheduler):
            _made(pipeline, tier, part, callback_on_step_end=look)
        return np.concatenate(predicted, axis=2)  # side by side

    name = "-".join(map(str, after))
    return dict(zip(after, np.split(_kept(f"{tier}-after-{name}", which, make), len(after), axis=2), strict=True))


def _made(pipeline: Any, tier: str, which: Numbers, *, steps: int | None = None, **more: Any) -> Pixels:
    """Return what a pipeline makes of some prompts, called as the worker calls it."""
    settings = TIERS[tier]
    if "image" not in more:
        more["width"], more["height"] = width_height(settings.size)
    output = pipeline(
        texts_of(which),
        num_inference_steps=steps or settings.steps,
        guidance_scale=settings.guidance,
        generator=[torch.Generator("cpu").manual_seed(RUN.spec.seed + int(i)) for i in which],
        output_type="np",
        **more,
    )
    return _levels(output.images)


@torch.no_grad()
def _decoded(pipeline: Any, latents: Tensor) -> Pixels:
    decoded = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor, return_dict=False)[0]
    return _levels(pipeline.image_processor.postprocess(decoded, output_type="np"))


def _levels(pixels: NDArray[np.float32]) -> Pixels:
    """Return pixels in 0..1 as levels of 255."""
    return np.asarray((pixels * 255).round().astype(np.uint8))


@functools.cache
def _pipeline(tier: str) -> Any:
    pipeline = load_pipeline(as_tier(TIERS[tier]), RUN.models, torch.float32, Modules())
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _kept(name: str, which: Numbers, make: Callable[[Numbers], Pixels]) -> Pixels:
    """Return what `make` makes of some prompts, part by part; what a run before made of them is taken from there."""
    made_from = store.mark(RUN.spec.model_dump(), texts_of(which))
    path = _DRAWN / f"{name}.{made_from}.npy"
    if not path.exists():
        parts = np.array_split(which, -(-len(which) // _BATCH))
        body = io.BytesIO()
        np.save(body, np.concatenate([make(part) for part in parts]))
        store.write(path, body.getvalue())
    return np.asarray(np.load(path))
