"""The engine: the same seed is the same image, memory that runs out is halved, and faults stay with their jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from hadis.api.manifest import read_manifest
from hadis.api.tier import BatchLatency, Tier
from hadis.protocol.worker import GenerateBatch, Progress, WireJob
from hadis_worker import engine
from hadis_worker.discriminator import Discriminator
from hadis_worker.engine import Engine
from hadis_worker.errors import BatchCancelled, BatchError, LoadError, UnknownTierError
from hadis_worker.painter import Call, Painted, Pixels
from hadis_worker.previews.previewer import Previewer
from hadis_worker.settings import Models
from hadis_worker.steps import Steps
from PIL import Image

SCENES = Path(__file__).parents[2] / "examples" / "scenes"


class FakePainter:
    """Paints grey; `before` may raise or spoil."""

    takes_negative_prompts = True
    default_negative_prompt: str | None = None
    prompt_tokens: int | None = None
    previewer = Previewer(None)

    def __init__(self, before: Callable[[Call, Pixels], None]) -> None:
        self.before = before
        self.filters: Callable[[str], bool] = lambda prompt: False
        self.sizes: list[int] = []

    def paint(self, call: Call) -> Painted:
        """Return grey pictures."""
        self.sizes.append(len(call.prompts))
        pixels = np.full((len(call.prompts), call.height, call.width, 3), 0.5, np.float32)
        self.before(call, pixels)
        return Painted(pixels, [self.filters(prompt) for prompt in call.prompts])


def make_engine(before: Callable[[Call, Pixels], None]) -> tuple[Engine, FakePainter]:
    tier = Tier(name="t", model="m", steps=2, size="32x32", latency=(BatchLatency(batch=1, seconds=1),))
    painter = FakePainter(before)
    return Engine([tier], {"t": painter}), painter


def batch(count: int, tier: str = "t", **fields: object) -> GenerateBatch:
    jobs = [WireJob.model_validate({"id": str(i), "prompt": f"p{i}", "seed": i, **fields}) for i in range(count)]
    return GenerateBatch(tier=tier, jobs=tuple(jobs))


def test_out_of_memory_halves_the_batch_until_it_fits() -> None:
    def small_only(call: Call, _: Pixels) -> None:
        if len(call.prompts) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    engine, painter = make_engine(small_only)
    assert all(image for _, image in engine.generate(batch(7)))
    assert painter.sizes == [7, 3, 1, 2, 4, 2, 2]
    assert engine.out_of_memory_total == 3


def test_a_job_that_never_fits_fails_alone_and_the_engine_lives() -> None:
    def no_p1(call: Call, _: Pixels) -> None:
        if "p1" in call.prompts:
            raise torch.OutOfMemoryError("CUDA out of memory")

    engine, _ = make_engine(no_p1)
    results = [result for result, _ in engine.generate(batch(4))]
    assert [r.error_code for r in results] == [None, "out_of_memory", None, None]
    assert engine.generate(batch(1))[0][0].error is None


def test_not_a_number_is_an_error_of_that_image_only() -> None:
    def spoil(call: Call, pixels: Pixels) -> None:
        pixels[call.prompts.index("p1")] = np.nan

    results = [result.error for result, _ in make_engine(spoil)[0].generate(batch(3))]
    assert results[0] is None
    assert "NaN" in str(results[1])
    assert results[2] is None


def test_a_filtered_image_is_an_error_of_its_job_and_nobody_judges_it() -> None:
    judged: list[str] = []

    class Judge:
        def confidence(self, images: Sequence[Image.Image], prompts: Sequence[str], tier: str) -> list[float]:
            assert tier == "t"
            judged.extend(prompts)
            return [0.5] * len(prompts)

    painter = FakePainter(lambda *_: None)
    painter.filters = "p1".__eq__
    tier = Tier(name="t", model="m", steps=2, size="32x32", latency=(BatchLatency(batch=1, seconds=1),))
    made = Engine([tier], {"t": painter}, cast(Discriminator, Judge())).generate(
        batch(3).model_copy(update={"discriminate": True})
    )
    assert [result.error_code for result, _ in made] == [None, "content_filtered", None]
    assert made[1][1] is None
    assert judged == ["p0", "p2"]


def test_a_checker_that_errs_on_the_first_image_does_not_keep_a_worker_from_starting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    painter = FakePainter(lambda *_: None)
    painter.filters = lambda prompt: not prompt.startswith("p")
    monkeypatch.setattr(engine, "load_painters", lambda *_: {"t": painter})
    tier = Tier(name="t", model="m", steps=2, size="32x32", latency=(BatchLatency(batch=1, seconds=1),))
    assert Engine.load(Models((tier,), SCENES, None), "cpu").generate(batch(1))[0][0].error is None


def test_what_a_model_raises_is_the_jobs_error() -> None:
    def broken(call: Call, _: Pixels) -> None:
        raise ZeroDivisionError("no")

    result, image = make_engine(broken)[0].generate(batch(1))[0]
    assert (result.error_code, image) == ("failed", None)


def test_batches_that_cannot_be_made_are_refused() -> None:
    engine, _ = make_engine(lambda *_: None)
    with pytest.raises(UnknownTierError, match="resident are t"):
        engine.generate(batch(1, tier="x"))
    with pytest.raises(BatchError, match="makes 32x32, not 64x64"):
        engine.generate(batch(1, size="64x64"))
    with pytest.raises(BatchError, match="does not let"):
        engine.generate(batch(1, steps=9))


@pytest.mark.parametrize(("side", "fails"), [(32, False), (33, True)])
def test_a_model_that_makes_another_size_than_its_tier_says_is_not_served(
    side: int, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Even(FakePainter):
        def paint(self, call: Call) -> Painted:
            return super().paint(replace(call, width=call.width // 2 * 2, height=call.height // 2 * 2))

    monkeypatch.setattr(engine, "load_painters", lambda *_: {"t": Even(lambda *_: None)})
    tier = Tier(name="t", model="m", steps=2, size=f"{side}x{side}", latency=(BatchLatency(batch=1, seconds=1),))
    models = Models((tier,), SCENES, None)
    if fails:
        with pytest.raises(LoadError, match="makes 32x32 where 33x33 is asked for; write size: 32x32"):
            Engine.load(models, "cpu")
        return
    [(result, _)] = Engine.load(models, "cpu").generate(batch(1))
    assert result.size == "32x32"


def test_the_same_seed_is_the_same_image_whatever_the_batch() -> None:
    """Up to one level of 255: kernels of another batch size add up in another order."""
    manifest = read_manifest(SCENES.parent / "scenes.yaml")
    tier = manifest.profile.spec.tiers[0]
    engine = Engine.load(Models((tier,), manifest.folder, SCENES / "discriminator"), "cpu")
    job = WireJob(id="x", prompt="a big red circle top left on white", seed=11)
    long = WireJob(id="long", prompt="red " * 40, seed=1)
    others = batch(4).jobs
    alone = engine.generate(GenerateBatch(tier=tier.name, jobs=(job,), discriminate=True))[0]
    together = engine.generate(GenerateBatch(tier=tier.name, jobs=(*others, long, job), discriminate=True))
    assert [result.truncated_tokens for result, _ in together] == [0, 0, 0, 0, 40 + 2 - 32, 0], "<s> and </s> are two"
    among = together[-1]
    assert alone[1] is not None
    assert among[1] is not None
    assert np.abs(np.asarray(alone[1], int) - np.asarray(among[1], int)).max() <= 1
    assert alone[0].confidence == pytest.approx(among[0].confidence, abs=0.01)


def test_jobs_without_a_negative_prompt_join_those_with_one_where_there_is_a_default() -> None:
    negatives: list[tuple[str, ...] | None] = []
    engine, painter = make_engine(lambda call, _: negatives.append(call.negative_prompts))
    jobs = (*batch(1).jobs, WireJob(id="x", prompt="p", seed=0, negative_prompt="dog"))
    mixed = GenerateBatch(tier="t", jobs=jobs)
    engine.generate(mixed)
    assert negatives == [None, ("dog",)]
    painter.default_negative_prompt = "blurry"
    engine.generate(mixed)
    assert negatives[2:] == [("blurry", "dog")]


@pytest.mark.parametrize("least", [2, 3])
def test_warm_up_makes_one_image_and_two_with_the_tiers_own_steps(least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def few_steps_fail(call: Call, _: Pixels) -> None:
        if call.steps < least:
            raise ValueError(f"needs {least} steps")

    tier = Tier(name="t", model="m", steps=2, size="8x8", latency=(BatchLatency(batch=1, seconds=1),))
    painter = FakePainter(few_steps_fail)
    monkeypatch.setattr("hadis_worker.engine.load_painters", lambda *_: {"t": painter})
    models = Models((tier,), SCENES, None)
    if least > tier.steps:
        with pytest.raises(LoadError, match="tier t: the first batch of 1 failed: ValueError: needs 3 steps"):
            Engine.load(models, "cpu")
    else:
        Engine.load(models, "cpu")
        assert painter.sizes == [1, 2]


@pytest.mark.parametrize("fails", [False, True])
def test_warm_up_makes_every_size_and_each_is_served(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def paint(call: Call, _: Pixels) -> None:
        made.append((len(call.prompts), call.width, call.height))

    class Square(FakePainter):
        def paint(self, call: Call) -> Painted:
            return super().paint(replace(call, height=call.width) if fails else call)

    made: list[tuple[int, int, int]] = []
    monkeypatch.setattr(engine, "load_painters", lambda *_: {"t": Square(paint)})
    tier = Tier(name="t", model="m", steps=2, sizes=("8x8", "16x8"), latency=(BatchLatency(batch=1, seconds=1),))
    models = Models((tier,), SCENES, None)
    if fails:
        with pytest.raises(LoadError, match="makes 16x16 where 16x8 is asked for; write in sizes: 16x16"):
            Engine.load(models, "cpu")
        return
    loaded = Engine.load(models, "cpu")
    assert made == [(1, 8, 8), (2, 8, 8), (1, 16, 8)]
    assert [result.size for result, _ in loaded.generate(batch(2, size="16x8"))] == ["16x8"] * 2
    with pytest.raises(BatchError, match="tier t makes 8x8, 16x8, not 9x9"):
        loaded.generate(batch(1, size="9x9"))


class SeenSteps(Steps):
    """Notes the progress after each step; is cancelled once so many are `made`."""

    def __init__(self, images: int, steps: int, made: int | None = None) -> None:
        super().__init__(images, steps)
        self.made, self.seen = made, list[int]()

    def count(self, images: int, done: int, steps: int) -> None:
        super().count(images, done, steps)
        self.seen.append(self.progress.done)
        if self.progress.done == self.made:
            self.cancel()


def test_a_real_pipeline_stops_at_the_next_step_and_then_makes_the_same_images_as_before() -> None:
    manifest = read_manifest(SCENES.parent / "scenes.yaml")
    tier = next(tier for tier in manifest.profile.spec.tiers if tier.steps >= 10)
    engine, steps = Engine.load(Models((tier,), manifest.folder, None), "cpu"), tier.steps
    whole, stopped = SeenSteps(2, steps), SeenSteps(2, steps, made=3)
    before = engine.generate(batch(2, tier.name), whole)
    with pytest.raises(BatchCancelled):
        engine.generate(batch(2, tier.name), stopped)
    after = engine.generate(batch(2, tier.name))
    assert whole.seen == list(range(steps + 1))
    assert stopped.seen == [0, 1, 2, 3]
    for (_, one), (_, other) in zip(before, after, strict=True):
        assert one is not None
        assert np.array_equal(np.asarray(one), np.asarray(other))


def test_progress_is_that_of_the_whole_batch_whatever_calls_it_takes() -> None:
    def small_only(call: Call, _: Pixels) -> None:
        assert call.counter
        call.counter.count(len(call.prompts), 1, 4)  # a scheduler of two timesteps per step
        if len(call.prompts) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        call.counter.count(len(call.prompts), 4, 4)

    engine, _ = make_engine(small_only)
    jobs = (*batch(2).jobs, WireJob(id="n", prompt="p", seed=0, negative_prompt="blue"))
    seen = SeenSteps(3, 2)
    engine.generate(GenerateBatch(tier="t", jobs=jobs), seen)
    assert seen.progress == Progress(done=2, steps=2)
    # Two at once fail; then one after the other makes its third of the batch.
    assert seen.seen == [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2]
