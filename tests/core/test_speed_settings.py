"""What a tier may say of speed, and the line that says why not."""

from __future__ import annotations

from typing import Any

import pytest
from hadis.api.crd import definitions
from hadis.api.tier import TierSettings

TORCHAO = {"kind": "torchao", "type": "float8DynamicActivationFloat8Weight"}


def tier(**fields: Any) -> TierSettings:
    return TierSettings.read({"name": "t", "model": "m", "steps": 4, **fields})


def test_what_is_left_out_changes_nothing() -> None:
    speed = tier().speed
    assert (speed.compile, speed.attention, speed.cache, speed.offload) == ("off", None, None, "none")
    assert not (speed.channels_last or speed.vae.slicing or speed.vae.tiling)
    assert tier().quantization == {}


def test_arguments_of_a_cache_are_diffusers() -> None:
    cache = tier(speed={"cache": {"kind": "taylorSeer", "cacheInterval": 3, "maxOrder": 2}}).speed.cache
    assert cache is not None
    assert cache.arguments == {"cache_interval": 3, "max_order": 2}
    assert not cache.depends_on_company


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"speed": {"compile": "half"}}, "speed.compile: Input should be 'off', 'regional' or 'full'"),
        ({"speed": {"chanelsLast": True}}, "did you mean 'channelsLast'?"),
        (
            {"speed": {"cache": {"kind": "firstBlock", "cacheInterval": 2}}},
            "speed.cache: cacheInterval is an argument of taylorSeer; leave it out",
        ),
        (
            {"speed": {"cache": {"kind": "taylorSeer", "threshold": 0.1}}},
            "threshold is an argument of firstBlock and magCache; leave it out",
        ),
        ({"speed": {"cache": {"kind": "magCache"}}}, "magCache needs magRatios"),
        (
            {"speed": {"cache": {"kind": "firstBlock"}, "compile": "full"}},
            "only blocks can be compiled; write regional",
        ),
        ({"speed": {"cache": {"kind": "taylorSeer"}, "compile": "regional"}}, "cannot be compiled then; write off"),
        ({"speed": {"offload": "group", "compile": "full"}}, "offload: not of a compiled model; write compile: off"),
        ({"speed": {"cache": {"kind": "firstBlock"}}, "tunable": True}, "speed.cache: not in a tunable tier"),
        ({"quantization": {"unet": {"kind": "torchao", "type": "nf4"}}}, "type: torchao has int4WeightOnly"),
        (
            {"quantization": {"transformer": TORCHAO}},
            "quantization.transformer: float8DynamicActivationFloat8Weight is slower than bfloat16 unless the model is",
        ),
        (
            {
                "quantization": {"unet": {"kind": "bitsandbytes", "type": "nf4"}},
                "components": {"unet": {"model": "x", "gguf": "x.gguf"}},
            },
            "quantization: a gguf file is quantized already",
        ),
        (
            {"components": {"unet": {"model": "x", "file": "x.gguf"}}},
            "file: it is a gguf file; write it under gguf",
        ),
        ({"components": {"unet": {"model": "x", "file": "x", "gguf": "x"}}}, "write file or gguf, not both"),
    ],
)
def test_what_does_not_fit_is_one_line(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        tier(**fields)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_activations_are_quantized_in_what_is_compiled_and_in_what_runs_once() -> None:
    assert tier(quantization={"transformer": TORCHAO}, speed={"compile": "regional"})
    assert tier(quantization={"text_encoder": TORCHAO})


def test_the_custom_resource_has_the_fields() -> None:
    schema = definitions()["cascadeprofiles"]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    fields = schema["properties"]["spec"]["properties"]["tiers"]["items"]["properties"]
    cache = fields["speed"]["properties"]["cache"]
    assert cache["properties"]["kind"]["enum"] == ["firstBlock", "taylorSeer", "magCache", "fasterCache"]
    assert cache["required"] == ["kind"]
    assert fields["quantization"]["additionalProperties"]["properties"]["type"]["type"] == "string"
