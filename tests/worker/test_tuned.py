"""What a request sets itself acts or is refused, at its own guidance; what a pipeline refuses of it is its fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hadis.api.tier import Tier
from hadis.protocol.worker import GenerateBatch, WireJob
from hadis_worker.engine import Engine
from hadis_worker.errors import LoadError
from hadis_worker.loading.tiers import check_tier, load_painters
from hadis_worker.painter import Call, Painted
from tiny_models import TinyModels, tiny_tier


def engine_of(tiny: TinyModels, model: str, **fields: Any) -> Engine:
    tier = tiny_tier(tiny.get(model), tunable=True, **fields)
    return Engine([tier], load_painters([tier], Path(), "cpu"))


def make(engine: Engine, **fields: Any) -> tuple[str | None, str | None, Any]:
    """Return a job's error code, error and image."""
    job = WireJob.model_validate({"id": "0", "prompt": "a cat", "seed": 0, **fields})
    [(result, image)] = engine.generate(GenerateBatch(tier="t", jobs=(job,)))
    return result.error_code, result.error, None if image is None else np.asarray(image)


def test_a_negative_prompt_acts_or_is_refused_at_the_requests_guidance(tiny: TinyModels) -> None:
    guided, unguided = engine_of(tiny, "sdxl", guidance=5), engine_of(tiny, "sdxl", guidance=0)
    words = "tier t takes no negative prompt at guidance 1"
    assert make(guided, guidance=1.0, negative_prompt="dog")[:2] == ("invalid", words)
    assert make(guided, guidance=1.0, negative_prompt="")[0] is None
    assert make(unguided, negative_prompt="dog")[:2] == ("invalid", "tier t takes no negative prompt")
    plain, negative = make(unguided, guidance=5.0)[2], make(unguided, guidance=5.0, negative_prompt="dog")[2]
    assert not np.array_equal(plain, negative)
    assert np.array_equal(negative, make(guided, negative_prompt="dog")[2])


def test_a_tiers_own_negative_prompt_is_no_requests_fault(tiny: TinyModels) -> None:
    engine = engine_of(tiny, "sdxl", guidance=5, negativePrompt="blurry")
    assert make(engine, guidance=1.0)[0] is None
    jobs = [
        WireJob(id=str(i), prompt="p", seed=0, guidance=1.0, negative_prompt=n) for i, n in enumerate((None, "dog"))
    ]
    made = engine.generate(GenerateBatch(tier="t", jobs=tuple(jobs)))
    assert [result.error_code for result, _ in made] == [None, "invalid"]


def test_a_guidance_that_does_nothing_is_refused(tiny: TinyModels) -> None:
    code, error, _ = make(engine_of(tiny, "flux-schnell"), guidance=9.0)
    assert code == "invalid"
    assert error == "tier t: guidance: does nothing in this FluxPipeline; leave it out"


def test_what_a_pipeline_says_of_a_requests_steps_is_the_requests_fault(tiny: TinyModels) -> None:
    engine = engine_of(tiny, "sana-sprint", size="64x64", call={"use_resolution_binning": False})
    code, error, _ = make(engine, steps=4)
    assert code == "invalid"
    assert str(error).startswith("steps 4: Intermediate timesteps for SCM is not supported")
    assert make(engine)[0] is None


def test_a_wrong_value_in_call_is_named_at_the_warm_up(tiny: TinyModels) -> None:
    fields = {"guidance_rescale": "x", "clip_skip": 1}
    tier = tiny_tier(tiny.get("sdxl"), call=fields)
    with pytest.raises(LoadError, match=r"^tier t: the first .*call\.guidance_rescale: 'x' cannot be used"):
        Engine([tier], load_painters([tier], Path(), "cpu")).warm_up(tier)


class Many:
    """Makes two images of each prompt."""

    takes_negative_prompts = False
    default_negative_prompt: str | None = None
    prompt_tokens: int | None = None

    def paint(self, call: Call) -> Painted:
        """Return grey."""
        return Painted(np.full((2 * len(call.prompts), call.height, call.width, 3), 0.5, np.float32))


def test_a_model_that_makes_more_images_than_prompts_is_not_served() -> None:
    tier: Tier = tiny_tier("m")
    with pytest.raises(LoadError, match="the model made 2 images of 1 prompts, not one each"):
        Engine([tier], {"t": Many()}).warm_up(tier)


def test_a_pipeline_of_videos_is_refused(tiny: TinyModels) -> None:
    with pytest.raises(LoadError, match="TextToVideoZeroPipeline makes videos, no images"):
        check_tier(tiny_tier(tiny.get("sd15"), pipeline="TextToVideoZeroPipeline"), Path())
