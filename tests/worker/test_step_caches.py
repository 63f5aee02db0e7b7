"""Step caches leave out what they say, never let one image change another, and forget a batch that was stopped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch._dynamo
from fast_tiers import PROMPTS, Fast, apart, calls_of, fast, pointers, refusal
from hadis.protocol.worker import Progress
from hadis_worker.errors import BatchCancelled
from hadis_worker.loading.modules import Modules
from hadis_worker.steps import Steps
from tiny_models import TinyModels
from torch._dynamo.testing import CompileCounter

STEPS = 6
EAGER = {"kind": "firstBlock", "threshold": 10}
"""Skips whatever it may."""
CACHES: list[dict[str, Any]] = [
    EAGER,
    {"kind": "taylorSeer", "cacheInterval": 2, "disableCacheBeforeStep": 2},
    {"kind": "magCache", "magRatios": [1.0] * STEPS},
    {"kind": "fasterCache"},
]
COMPUTED = {"firstBlock": 1, "taylorSeer": 4, "magCache": 2, "fasterCache": 4}
"""Steps of six at which the last block is computed."""


def cached(tiny: TinyModels, cache: dict[str, Any] | None, modules: Modules | None = None, **fields: Any) -> Fast:
    speed = {"cache": cache, **fields}
    return fast(tiny.get("flux-deep"), modules, steps=STEPS, speed=speed)


@pytest.mark.parametrize("cache", CACHES, ids=lambda cache: cache["kind"])
def test_a_cache_computes_less_and_paints_nearly_the_same(tiny: TinyModels, cache: dict[str, Any]) -> None:
    """The tolerance is for these weights, which are random; what a cache costs a real model is measured as quality."""
    plain, less = cached(tiny, None), cached(tiny, cache)
    calls = [calls_of(one.denoiser.single_transformer_blocks[1].attn.to_q) for one in (plain, less)]
    expected, made = plain.paint(), less.paint()
    assert [len(each) for each in calls] == [STEPS, COMPUTED[cache["kind"]]]
    assert 0 < apart(expected, made) < 0.1


def test_a_cache_that_may_skip_nothing_changes_nothing(tiny: TinyModels) -> None:
    never = {"kind": "firstBlock", "threshold": 1e-9}
    assert apart(cached(tiny, never).paint(), cached(tiny, None).paint()) < 1e-6


@pytest.mark.parametrize("cache", [{"kind": "firstBlock", "threshold": 0.3}, *CACHES[1:]], ids=lambda c: c["kind"])
def test_an_image_does_not_depend_on_its_company(tiny: TinyModels, cache: dict[str, Any]) -> None:
    """Alone, these images are computed at 3, 5 and 3 steps by the first block; decided together, all would be at 4."""
    tier = cached(tiny, cache)
    together = tier.paint(*PROMPTS)
    for prompt, among in zip(PROMPTS, together, strict=True):
        assert apart(tier.paint(prompt)[0], among) < 1e-5


def test_images_that_are_made_one_by_one_count_as_one_batch(tiny: TinyModels) -> None:
    seen: list[int] = []

    class Seen(Steps):
        def count(self, images: int, done: int, steps: int) -> None:
            super().count(images, done, steps)
            seen.append(self.progress.done)

    steps = Seen(3, STEPS)
    cached(tiny, EAGER).paint(*PROMPTS, counter=steps)
    assert seen == [done // 3 for done in range(1, 3 * STEPS + 1)]
    assert steps.progress == Progress(done=STEPS, steps=STEPS)


class Stopped(Steps):
    """Is stopped after three steps."""

    def count(self, images: int, done: int, steps: int) -> None:
        """Stop."""
        if done == 3:
            self.cancel()
        super().count(images, done, steps)


@pytest.mark.parametrize("cache", CACHES, ids=lambda cache: cache["kind"])
def test_a_batch_that_was_stopped_leaves_nothing_to_the_next(tiny: TinyModels, cache: dict[str, Any]) -> None:
    tier = cached(tiny, cache)
    expected = tier.paint()
    with pytest.raises(BatchCancelled):
        tier.paint("something else", counter=Stopped(1, STEPS))
    assert apart(tier.paint(), expected) == 0


def test_a_tier_with_a_cache_is_another_one_over_the_same_weights(tiny: TinyModels) -> None:
    alone, modules = cached(tiny, None).paint(), Modules()
    less = cached(tiny, EAGER, modules)
    plain = cached(tiny, None, modules)
    other = cached(tiny, {"kind": "firstBlock", "threshold": 1e-9}, modules)
    assert pointers(less.denoiser) == pointers(plain.denoiser) == pointers(other.denoiser)
    assert less.pipeline.vae is plain.pipeline.vae
    assert apart(less.paint(), plain.paint()) > 1e-4
    assert apart(plain.paint(), alone) == 0
    assert apart(other.paint(), alone) < 1e-6


@pytest.mark.parametrize("cache", [CACHES[0], CACHES[2]], ids=lambda cache: cache["kind"])
def test_blocks_between_which_a_cache_decides_are_compiled(tiny: TinyModels, cache: dict[str, Any]) -> None:
    torch._dynamo.reset()
    counter = CompileCounter()
    speed = {"cache": cache, "compile": "regional"}
    tier = fast(tiny.get("flux-deep"), compiler=counter, steps=STEPS, speed=speed)
    made = tier.paint()
    assert counter.frame_count == 3, "as without a cache"
    before = counter.frame_count
    tier.paint("a dog")
    assert counter.frame_count == before
    assert apart(made, cached(tiny, cache).paint()) < 1e-5
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("model", "cache", "words"),
    [
        ("sd3-deep", EAGER, "speed.cache: SD3Transformer2DModel has no step caches; leave it out"),
        ("z-image", EAGER, "speed.cache: ZImageTransformer2DModel has no step caches; leave it out"),
        ("sdxl", EAGER, "speed.cache: UNet2DConditionModel has no step caches; leave it out"),
    ],
)
def test_what_has_no_caches(tiny: TinyModels, model: str, cache: dict[str, Any], words: str) -> None:
    assert refusal(tiny.get(model), speed={"cache": cache}) == words


def test_a_cache_that_would_mix_guided_with_unguided_calls(tiny: TinyModels) -> None:
    words = refusal(tiny.get("flux-deep"), trueGuidance=4, speed={"cache": {"kind": "fasterCache"}})
    assert words.startswith("tier t: speed.cache: fasterCache does not tell guided calls from unguided ones")
    guided = [fast(tiny.get("flux-deep"), trueGuidance=4, steps=STEPS, speed={"cache": cache}) for cache in CACHES[:3]]
    assert all(np.isfinite(tier.paint()).all() for tier in guided)
