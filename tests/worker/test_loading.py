"""What is loaded is what a tier says, each module once for all tiers, and what cannot be is one clear line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from hadis_worker.errors import LoadError
from hadis_worker.loading.modules import Modules
from hadis_worker.loading.parts import common_modules
from hadis_worker.loading.tiers import load_painters, load_pipeline
from hadis_worker.painter import Call, Pixels
from hadis_worker.pipelines import DiffusersPainter
from tiny_models import LORA_FILE, UNET_FILE, TinyModels, tiny_tier

SCENES = Path(__file__).parents[2] / "examples" / "scenes"
SMALL = tiny_tier(SCENES / "small")
EULER = {"class": "EulerDiscreteScheduler", "arguments": {"timestep_spacing": "trailing"}}


def load(tier: Any, dtype: torch.dtype = torch.float32, modules: Modules | None = None) -> Any:
    return load_pipeline(tier, Path(), dtype, modules or Modules())


def paint(painter: DiffusersPainter) -> Pixels:
    with torch.inference_mode():
        return painter.paint(Call(("a cat",), None, (0,), 32, 32, 2, None)).pixels


def painted(*tiers: Any, folder: Path = Path()) -> list[Pixels]:
    return [paint(painter) for painter in load_painters(tiers, folder, "cpu").values()]


def pointers(module: torch.nn.Module) -> set[int]:
    return {weight.data_ptr() for weight in module.parameters()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_weights_are_of_the_type_that_was_asked_for(dtype: torch.dtype) -> None:
    pipeline = load(SMALL, dtype)
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        assert {weight.dtype for weight in part.parameters()} == {dtype}


def test_a_library_that_ignores_the_type_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    as_before = DiffusionPipeline.from_pretrained
    monkeypatch.setattr(StableDiffusionPipeline, "from_pretrained", lambda source, **_: as_before(source))
    with pytest.raises(LoadError, match=r"was loaded as torch.float32, not as torch.bfloat16; diffusers 0.40"):
        load(SMALL, torch.bfloat16)
    assert load(SMALL)


def test_a_layer_that_stays_wide_and_weights_that_are_narrow_are_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    as_it_is = DiffusionPipeline.from_pretrained

    def mixed(source: Any, **options: Any) -> Any:
        pipeline = as_it_is(source, **options)
        pipeline.unet.time_embedding.to(torch.float32)
        pipeline.text_encoder.to(torch.float8_e4m3fn)
        return pipeline

    monkeypatch.setattr(StableDiffusionPipeline, "from_pretrained", mixed)
    assert load(SMALL, torch.bfloat16)


def lightning(tiny: TinyModels, **unet: str) -> Any:
    part = {"model": str(tiny.get("lightning")), **unet}
    return tiny_tier(tiny.get("sdxl"), name="lightning", components={"unet": part}, scheduler=EULER, guidance=0)


@pytest.mark.parametrize("unet", [{"file": UNET_FILE}, {"subfolder": "unet"}])
def test_a_bare_unet_takes_the_place_of_the_pipelines_own(tiny: TinyModels, unet: dict[str, str]) -> None:
    tier = lightning(tiny, **unet)
    pipeline = load(tier)
    theirs = diffusers.UNet2DConditionModel.from_pretrained(tiny.get("lightning") / "unet")
    assert all(torch.equal(a, b) for a, b in zip(pipeline.unet.parameters(), theirs.parameters(), strict=True))
    assert pipeline.scheduler.config.timestep_spacing == "trailing"
    ours, base = painted(tier, tiny_tier(tiny.get("sdxl"), scheduler=EULER, guidance=0))
    assert not np.array_equal(ours, base)


def test_loras_are_fused_by_their_scale(tiny: TinyModels) -> None:
    def tier(*scales: float) -> Any:
        loras = [{"model": str(tiny.get("lightning")), "file": LORA_FILE, "scale": scale} for scale in scales]
        return tiny_tier(tiny.get("sdxl"), name=f"t{len(scales)}{sum(scales)}", loras=loras)

    base, none, once, twice = painted(tier(), tier(0.0), tier(1.0), tier(0.5, 0.5))
    assert np.allclose(base, none, atol=1e-6)
    assert not np.allclose(base, once, atol=1e-3)
    assert np.allclose(once, twice, atol=1e-5)
    modules = Modules()
    pipeline = load(tier(1.0), modules=modules)
    assert pipeline.get_list_adapters() == {}
    plain = load(tier(), modules=modules)
    assert plain.text_encoder is pipeline.text_encoder  # the LoRA leaves it as it is
    assert plain.unet is not pipeline.unet


def test_tiers_of_other_models_share_the_modules_of_equal_files(tiny: TinyModels, tmp_path: Path) -> None:
    large = tiny.get("sd3")
    turbo = tmp_path / "turbo"
    shutil.copytree(large, turbo)
    transformer = diffusers.SD3Transformer2DModel.from_pretrained(large / "transformer")
    for weight in transformer.parameters():
        weight.data += 0.01
    transformer.save_pretrained(turbo / "transformer")
    config = turbo / "text_encoder" / "config.json"
    config.write_text(config.read_text().replace("{", '{"_name_or_path": "elsewhere",', 1))
    (tmp_path / "link").symlink_to(large)
    modules = Modules()
    one, other, again = (load(tiny_tier(path), modules=modules) for path in (large, turbo, tmp_path / "link"))
    for name in ("text_encoder", "text_encoder_2", "text_encoder_3", "vae"):
        assert pointers(getattr(one, name)) == pointers(getattr(other, name)) == pointers(getattr(again, name))
    assert pointers(one.transformer) == pointers(again.transformer)
    assert not pointers(one.transformer) & pointers(other.transformer)
    assert not pointers(one.vae) & pointers(load(tiny_tier(large), torch.bfloat16, modules).vae)
    first, second = painted(tiny_tier(large), tiny_tier(turbo, name="turbo"))
    assert not np.array_equal(first, second)


def test_a_scheduler_of_one_tier_is_not_that_of_another(tiny: TinyModels) -> None:
    own, other = tiny_tier(tiny.get("sdxl")), tiny_tier(tiny.get("sdxl"), name="euler", scheduler=EULER)
    mine, theirs = painted(own, other)
    assert not np.array_equal(mine, theirs)
    assert np.array_equal(mine, painted(other, own)[1])


def test_what_tiers_have_in_common_is_known_before_they_are_loaded_together(tiny: TinyModels, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(tiny.get("sdxl"), copied)
    tiers = [tiny_tier(tiny.get("sdxl"), name="heavy"), lightning(tiny, file=UNET_FILE), tiny_tier(copied, name="copy")]
    common = common_modules(tiers, Path(), "cpu")
    assert {tuple(by_tier) for by_tier in common} == {("heavy", "lightning", "copy"), ("heavy", "copy")}
    assert {"heavy": "unet", "copy": "unet"} in common, "the copy's files hold the same"
    painters = load_painters(tiers, Path(), "cpu")
    twice = sum((len(by_tier) - 1) * painters["heavy"].weight_bytes[by_tier["heavy"]] for by_tier in common)
    alone = sum(sum(painter.weight_bytes.values()) for painter in painters.values())
    weights = {
        weight.data_ptr(): weight.nbytes
        for painter in painters.values()
        for part in painter._pipeline.components.values()
        if isinstance(part, torch.nn.Module)
        for weight in (*part.parameters(), *part.buffers())
    }
    assert alone - twice == sum(weights.values())


def test_what_is_made_otherwise_is_not_in_common(tiny: TinyModels) -> None:
    plain = tiny_tier(tiny.get("sdxl"), name="plain")
    bare = [plain, tiny_tier(tiny.get("sdxl"), name="sliced", speed={"vae": {"slicing": True}})]
    assert {"plain": "unet", "sliced": "unet"} in common_modules(bare, Path(), "cpu"), "what is hung on it is no weight"
    half = [plain, tiny_tier(tiny.get("sdxl"), name="half", dtype="float16")]
    assert common_modules(half, Path(), "cuda") == []
    assert common_modules(half, Path(), "cpu"), "a CPU computes both in float32"
