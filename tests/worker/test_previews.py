"""Previews: when they are due, what they show, and that a batch is made as without them."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from hadis.api.manifest import read_profile
from hadis.api.tier import Tier
from hadis.protocol.worker import GenerateBatch, WireEdit, WireJob
from hadis_worker.engine import Engine
from hadis_worker.painter import PreviewCount
from hadis_worker.previews.colours import Colours, Decoding, LatentSample, fit
from hadis_worker.previews.drawn import drawn_decodings
from hadis_worker.previews.previewer import Previewer, number_due
from hadis_worker.previews.watch import LatentsWatch
from hadis_worker.settings import Models
from hadis_worker.steps import StepPreview, Steps
from PIL import Image
from tiny_models import TinyModels, tiny_tier

SCENES = Path(__file__).parents[2] / "examples" / "scenes"
PROMPTS = (
    "a big red circle top left on white",
    "a big yellow circle top left on black",
    "a big green triangle bottom left on white",
)


class KeptSteps(Steps):
    """Keeps every preview, in order, with its job."""

    def __init__(self, images: int, steps: int) -> None:
        super().__init__(images, steps)
        self.kept: list[tuple[str, int, Image.Image | None]] = []

    def show(self, job_id: str, preview: StepPreview) -> None:
        self.kept.append((job_id, preview.number, preview.draw()))


def load(*tiers: Tier, folder: Path = Path("/")) -> Engine:
    return Engine.load(Models(folder=folder, tiers=tiers, discriminator=None), "cpu")


def batch(tier: str, *previews: int, **fields: Any) -> GenerateBatch:
    jobs = tuple(WireJob(id=str(i), prompt=PROMPTS[i % 3], seed=i, **fields) for i in range(len(previews)))
    return GenerateBatch(tier=tier, jobs=jobs).with_previews(previews)


@pytest.fixture(scope="module")
def scenes() -> Engine:
    """The heavier model of the scenes, in 8 steps."""
    tier = next(tier for tier in read_profile(SCENES / "profile.yaml").spec.tiers if tier.name == "scenes-large-5")
    return load(tier.model_copy(update={"steps": 8}), folder=SCENES)


@pytest.mark.parametrize(
    ("most", "steps", "due"),
    [
        (1, 25, {12: 1}),
        (2, 25, {8: 1, 16: 2}),
        (3, 8, {2: 1, 4: 2, 6: 3}),
        (3, 4, {1: 1, 2: 2, 3: 3}),
        (3, 2, {1: 3}),
        (3, 1, {}),
        (0, 8, {}),
    ],
)
def test_previews_divide_the_steps_evenly(most: int, steps: int, due: dict[int, int]) -> None:
    every = {done: number_due(most, done, steps) for done in range(steps + 1)}
    assert {done: number for done, number in every.items() if number} == due


def test_each_job_has_its_previews_which_look_like_its_image(scenes: Engine) -> None:
    steps = KeptSteps(3, 8)
    made = scenes.generate(batch("scenes-large-5", 3, 0, 1), steps)
    assert [(job, number) for job, number, _ in steps.kept] == [("0", 1), ("0", 2), ("2", 1), ("0", 3)]
    for job, _, drawn in steps.kept:
        assert drawn is not None
        mine, other = made[int(job)][1], made[1][1]
        assert mine is not None and other is not None
        assert drawn.size == mine.size == (32, 32)
        assert likeness(drawn, mine) > 0.5 > likeness(drawn, other)


def likeness(one: Image.Image, other: Image.Image) -> float:
    """Return the correlation of the colours of two images."""
    return float(np.corrcoef(np.asarray(one, float).ravel(), np.asarray(other, float).ravel())[0, 1])


def test_images_are_the_same_with_and_without_previews(scenes: Engine) -> None:
    steps = KeptSteps(2, 8)
    plain, shown = scenes.generate(batch("scenes-large-5", 0, 0), steps), batch("scenes-large-5", 1, 2)
    assert not steps.kept
    for (_, one), (_, other) in zip(plain, scenes.generate(shown, KeptSteps(2, 8)), strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(other))
    scheduler = scenes._painters["scenes-large-5"]._pipeline.scheduler  # type: ignore[attr-defined]
    assert "step" not in vars(scheduler), "what watched it is gone"


def test_edits_have_previews_of_the_steps_that_they_make(scenes: Engine) -> None:
    [(_, image)] = scenes.generate(batch("scenes-large-5", 0))
    assert image is not None
    image.save(buffer := BytesIO(), "PNG")
    edit, steps = WireEdit(images=(0,), strength=0.5), KeptSteps(1, 8)
    scenes.generate(batch("scenes-large-5", 3, edit=edit).with_inputs((buffer.getvalue(),)), steps)
    assert [number for _, number, _ in steps.kept] == [1, 2, 3]
    assert all(drawn is not None for _, _, drawn in steps.kept)


@pytest.mark.parametrize("model", ["sdxl", "sd3", "flux-dev"])
def test_models_of_other_layouts_have_previews(model: str, tiny: TinyModels) -> None:
    """Latents of 4 channels, of 16, and packed into tokens."""
    steps = KeptSteps(2, 4)
    engine = load(tiny_tier(tiny.get(model), steps=4))
    assert [result.error for result, _ in engine.generate(batch("t", 1, 3), steps)] == [None, None]
    sizes = [(job, number, drawn and drawn.size) for job, number, drawn in steps.kept]
    assert sizes == [("1", 1, (32, 32)), ("0", 1, (32, 32)), ("1", 2, (32, 32)), ("1", 3, (32, 32))]


FLOW, NOISE = "flow", "noise"


@pytest.mark.parametrize(
    ("scheduler", "predicts"),
    [
        (diffusers.DDIMScheduler(clip_sample=False), NOISE),
        (diffusers.EulerDiscreteScheduler(), NOISE),
        (diffusers.EulerAncestralDiscreteScheduler(), NOISE),
        (diffusers.DPMSolverMultistepScheduler(), NOISE),
        (diffusers.UniPCMultistepScheduler(), NOISE),
        (diffusers.FlowMatchEulerDiscreteScheduler(), FLOW),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_the_clean_image_that_a_step_predicts_is_caught(scheduler: Any, predicts: str) -> None:
    clean, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    scheduler.set_timesteps(10)
    at = scheduler.timesteps[3]
    noisy = scheduler.scale_noise(clean, at[None], noise) if predicts == FLOW else None
    latents = scheduler.add_noise(clean, noise, at[None]) if noisy is None else noisy
    watch = LatentsWatch()
    with watch.steps_of(scheduler):
        after = scheduler.step(noise - clean if predicts == FLOW else noise, at, latents, return_dict=False)[0]
    assert watch.clean is not None
    assert torch.allclose(watch.clean, clean, atol=1e-3)
    assert watch.latents is after


def test_what_a_scheduler_does_not_predict_are_the_latents_that_are_left() -> None:
    scheduler = diffusers.PNDMScheduler(skip_prk_steps=True)
    scheduler.set_timesteps(4)
    watch = LatentsWatch()
    with watch.steps_of(scheduler):
        after = scheduler.step(torch.ones(1, 4, 2, 2), scheduler.timesteps[0], torch.ones(1, 4, 2, 2)).prev_sample
    assert watch.clean is after


Layout = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]


@pytest.mark.parametrize(
    "layout",
    [
        lambda grid: np.moveaxis(grid, 2, 0),
        lambda grid: np.moveaxis(grid, 2, 0)[:, None],
        lambda grid: grid.reshape(-1, grid.shape[2]),
    ],
    ids=["channels", "frames", "tokens"],
)
def test_linear_colours_are_learnt_whatever_the_layout(layout: Layout) -> None:
    def sample(seed: int) -> LatentSample:
        rng = np.random.default_rng(seed)
        code = rng.normal(size=(4, 8, 4)).astype(np.float32)
        colours = (code @ (rng_weights / 10) + 0.5).astype(np.float32)
        pixels = colours.repeat(8, axis=0).repeat(8, axis=1)
        return LatentSample(layout(3 * code + 1), Decoding(np.moveaxis(code, 2, 0), pixels))

    rng_weights = np.random.default_rng(9).normal(size=(4, 3))
    colours, (latents, decoding) = fit([sample(seed) for seed in range(6)], ()), sample(7)
    assert colours is not None
    image = colours.draw(latents, 64, 32)
    assert image is not None
    small = np.asarray(image.resize((8, 4), Image.Resampling.BOX), float) / 255
    assert np.abs(small - decoding.pixels[::8, ::8].clip(0, 1)).mean() < 0.05


def test_latents_of_another_kind_are_not_drawn() -> None:
    colours = Colours(np.zeros((5, 4), np.float32), np.zeros((37, 3), np.float32))
    assert colours.draw(np.zeros((4, 8, 8), np.float32), 16, 16) is not None
    for shape in ((16, 8, 8), (4, 8, 4), (4, 2, 8, 8), (63, 4), (4,)):
        assert colours.draw(np.zeros(shape, np.float32), 16, 16) is None
    assert colours.draw(np.full((4, 8, 8), np.nan, np.float32), 16, 16) is None
    assert fit([], ()) is None


def test_a_vae_of_half_precision_is_learnt_from_in_full_and_left_as_it_was() -> None:
    seen = set[torch.dtype]()
    vae = diffusers.AutoencoderKL(norm_num_groups=8, block_out_channels=(8,), force_upcast=True).half().eval()
    vae.encoder.register_forward_pre_hook(lambda _, inputs: seen.add(inputs[0].dtype))
    own = Decoding(np.zeros((4, 32, 32), np.float32), np.zeros((32, 32, 3), np.float32))
    assert len(drawn_decodings(SimpleNamespace(vae=vae, _execution_device="cpu"), own)) == 8
    assert (seen, vae.dtype) == ({torch.float32}, torch.float16)


def test_a_vae_that_cannot_be_learnt_from_leaves_a_tier_without_previews(caplog: pytest.LogCaptureFixture) -> None:
    scheduler, vae = SimpleNamespace(step=lambda *_: (torch.zeros(1, 4, 2, 2),)), SimpleNamespace(decode=lambda z: z)
    scheduler.config = SimpleNamespace()
    previewer, watch = Previewer(SimpleNamespace(scheduler=scheduler, vae=vae)), LatentsWatch()
    call: Any = SimpleNamespace(previews=(PreviewCount("a", 3),), prompts=("p",), counter=KeptSteps(1, 4))
    with previewer.learning(), previewer.watching(call, watch):
        vae.decode(scheduler.step(None, None, None)[0])
        previewer.learn(watch, np.zeros((1, 16, 16, 3), np.float32))
    assert caplog.messages[0].startswith("no previews of SimpleNamespace: AttributeError: ")
    previewer.show(watch, call, 1, 4)
    assert not call.counter.kept


def test_nothing_is_seen_before_a_safety_checker_has_looked() -> None:
    scheduler, vae = SimpleNamespace(step=print), SimpleNamespace(decode=print)
    for checker, watched in ((None, True), (object(), False)):
        previewer = Previewer(SimpleNamespace(scheduler=scheduler, vae=vae, safety_checker=checker))
        call: Any = SimpleNamespace(previews=())
        with previewer.learning(), previewer.watching(call, LatentsWatch()):
            assert (scheduler.step is not print) == watched
        assert scheduler.step is print


def test_a_preview_takes_the_place_of_one_that_was_not_sent_and_none_comes_twice() -> None:
    steps, shown = Steps(1, 4), [StepPreview(number, lambda: None) for number in (1, 2, 3)]
    steps.show("a", shown[0])
    steps.show("a", shown[1])
    assert steps.take_preview("a") is shown[1]
    steps.show("a", shown[0])  # of a call that is made again, in halves
    assert steps.take_preview("a") is None
    steps.show("a", shown[2])
    assert (steps.take_preview("a"), steps.take_preview("b")) == (shown[2], None)
