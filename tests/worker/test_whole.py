"""A module that lacks weights is refused by its name, and what is the same is in memory once however its files are."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from fast_tiers import pointers
from hadis_worker.errors import LoadError
from hadis_worker.loading.modules import Modules
from hadis_worker.loading.tiers import load_painter, load_painters, load_pipeline
from safetensors.torch import load_file, save_file
from test_safety import NOTHING, write_checker
from tiny_models import UNET_FILE, TinyModels, tiny_tier

Weights = dict[str, torch.Tensor]


def without(name: str) -> Callable[[Weights], None]:
    def change(weights: Weights) -> None:
        del weights[next(key for key in weights if name in key)]

    return change


def reshaped(weights: Weights) -> None:
    weights[next(key for key in weights if "q_proj.weight" in key)] = torch.zeros(3, 3)


def grown(weights: Weights) -> None:
    next(iter(weights.values())).add_(1)


def changed(file: Path, change: Callable[[Weights], None]) -> None:
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})


def refusal(folder: Path, model: str, **fields: Any) -> str:
    with pytest.raises(LoadError) as caught:
        load_painter(tiny_tier(model, **fields), folder, "cpu")
    return str(caught.value)


@pytest.mark.parametrize(
    ("model", "part", "change", "words"),
    [
        ("sd15", "unet", without("conv_in.weight"), "unet lacks 1 weight, such as conv_in.weight"),
        ("sd15", "vae", without("decoder.conv_in.w"), "vae lacks 1 weight, such as decoder.conv_in.weight"),
        (
            "sd15",
            "text_encoder",
            without("q_proj.w"),
            "text_encoder lacks 1 weight, such as encoder.layers.0",
        ),
        ("sd15", "text_encoder", reshaped, "text_encoder has 1 weight of another shape than its CLIPTextModel, such"),
        ("sd3", "text_encoder_3", without("SelfAttention.q"), "text_encoder_3 lacks 1 weight, such as encoder.block.0"),
    ],
)
def test_a_part_of_a_pipeline_without_a_weight_is_named(
    tiny: TinyModels, tmp_path: Path, model: str, part: str, change: Callable[[Weights], None], words: str
) -> None:
    shutil.copytree(tiny.get(model), tmp_path / "m")
    changed(next((tmp_path / "m" / part).glob("*.safetensors")), change)
    assert refusal(tmp_path, "m").startswith(f"tier t: model 'm' cannot be loaded: {words}")


def test_components_and_checkers_without_a_weight_are_named(tiny: TinyModels, tmp_path: Path) -> None:
    (tmp_path / "sdxl").symlink_to(tiny.get("sdxl"))
    shutil.copytree(tiny.get("sdxl") / "text_encoder", tmp_path / "te")
    changed(next((tmp_path / "te").glob("*.safetensors")), without("fc1.weight"))
    shutil.copytree(tiny.get("lightning"), tmp_path / "unets")
    changed(tmp_path / "unets" / UNET_FILE, without("add_embedding.linear_1.bias"))
    write_checker(tmp_path / "checker", NOTHING)
    changed(next((tmp_path / "checker").glob("*.safetensors")), without("concept_embeds"))
    for fields, words in (
        ({"components": {"text_encoder": {"model": "te"}}}, "components.text_encoder: 'te' lacks 1 weight, such as"),
        (
            {"components": {"unet": {"model": "unets", "file": UNET_FILE}}},
            "components.unet: 'unets' lacks 1 weight, such as add_embedding.linear_1.bias",
        ),
        (
            {"components": {"text_encoder": {"model": "te", "file": "model.safetensors"}}},
            "components.text_encoder: 'te' cannot be loaded as file: a CLIPTextModel is no single file; leave file out",
        ),
        ({"safety": "checker"}, "safety: 'checker' lacks 1 weight, such as concept_embeds"),
    ):
        assert words in refusal(tmp_path, "sdxl", **fields)


def test_a_component_of_another_variant_says_which(tiny: TinyModels, tmp_path: Path) -> None:
    (tmp_path / "sdxl").symlink_to(tiny.get("sdxl"))
    shutil.copytree(tiny.get("sdxl") / "unet", tmp_path / "half/unet")
    file = next((tmp_path / "half/unet").glob("*.safetensors"))
    file.rename(file.with_name(f"{file.stem}.fp16.safetensors"))
    unet = {"model": "half", "subfolder": "unet"}
    words = refusal(tmp_path, "sdxl", components={"unet": unet})
    assert words.endswith("there are no such files but of the variant fp16; write variant: fp16")
    assert load_painter(tiny_tier("sdxl", components={"unet": {**unet, "variant": "fp16"}}), tmp_path, "cpu")


def test_the_same_weights_in_shards_and_within_one_pipeline_are_in_memory_once(
    tiny: TinyModels, tmp_path: Path
) -> None:
    shutil.copytree(tiny.get("sd3"), tmp_path / "shards")
    encoder = transformers.T5EncoderModel.from_pretrained(tiny.get("sd3") / "text_encoder_3")
    shutil.rmtree(tmp_path / "shards/text_encoder_3")
    encoder.save_pretrained(tmp_path / "shards/text_encoder_3", max_shard_size="20KB")
    assert len(list((tmp_path / "shards/text_encoder_3").glob("*.safetensors"))) > 1
    shutil.rmtree(tmp_path / "shards/text_encoder_2")
    shutil.copytree(tmp_path / "shards/text_encoder", tmp_path / "shards/text_encoder_2")
    modules = Modules()
    both = tiny.get("sd3"), tmp_path / "shards"
    one, other = (load_pipeline(tiny_tier(path), Path(), torch.float32, modules) for path in both)
    assert pointers(one.text_encoder_3) == pointers(other.text_encoder_3)
    assert other.text_encoder is other.text_encoder_2
    shutil.copytree(tmp_path / "shards", tmp_path / "others")
    changed(next((tmp_path / "others/text_encoder_3").glob("*.safetensors")), grown)
    others = load_pipeline(tiny_tier(tmp_path / "others"), Path(), torch.float32, modules)
    assert not pointers(one.text_encoder_3) & pointers(others.text_encoder_3)


def test_offloaded_parts_are_each_its_own(tiny: TinyModels, tmp_path: Path) -> None:
    """A pipeline moves each when it runs; one that is two would be moved away from under the other."""
    shutil.copytree(tiny.get("sd3"), tmp_path / "m")
    shutil.rmtree(tmp_path / "m/text_encoder_2")
    shutil.copytree(tmp_path / "m/text_encoder", tmp_path / "m/text_encoder_2")
    pipeline = load_pipeline(tiny_tier(tmp_path / "m", speed={"offload": "model"}), Path(), torch.float32, Modules())
    assert pipeline.text_encoder is not pipeline.text_encoder_2


def test_a_checker_of_two_tiers_is_in_memory_once(tiny: TinyModels, tmp_path: Path) -> None:
    write_checker(tmp_path / "checker", NOTHING)
    (tmp_path / "sdxl").symlink_to(tiny.get("sdxl"))
    both = [
        tiny_tier("sdxl", name="a", safety="checker"),
        tiny_tier("sdxl", name="b", safety="checker", scheduler={"class": "LCMScheduler"}),
    ]
    one, other = load_painters(both, tmp_path, "cpu").values()
    assert one._pipeline is not other._pipeline
    assert one._checker is other._checker is not None
