"""What cannot be is told by the configs alone: no file here has a weight in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hadis_worker.errors import LoadError
from hadis_worker.loading.tiers import check_tier
from tiny_models import UNET_FILE, TinyModels, tiny_tier

PIPELINES = ("sd15", "sdxl", "flux-dev", "pixart", "hidream", "hunyuan-image", "flux2-klein", "omnigen")


def emptied(tiny: TinyModels, model: str, to: Path) -> Path:
    """Return a copy of a model whose files of weights are empty."""
    shutil.copytree(tiny.get(model), to)
    for path in to.rglob("*.safetensors"):
        path.write_bytes(b"")
    return to


@pytest.mark.parametrize("model", PIPELINES)
def test_models_without_faults_pass(tiny: TinyModels, tmp_path: Path, model: str) -> None:
    check_tier(tiny_tier(emptied(tiny, model, tmp_path / "m")), tmp_path)


ONE_STREAM = "speed.cache: firstBlock knows no model whose last blocks take text and image as one, as Flux2"
BITSANDBYTES = "quantization.transformer: the library bitsandbytes is not installed; pip install 'hadis"


@pytest.mark.parametrize(
    ("model", "fields", "words"),
    [
        ("sdxl", {"scheduler": {"class": "Nope"}}, "scheduler: diffusers .* has no scheduler Nope"),
        ("sdxl", {"scheduler": {"arguments": {"x": 1}}}, "scheduler.arguments.x: no argument of EulerDiscreteSched"),
        ("sdxl", {"call": {"guidance_rescal": 1}}, r"^tier t: call.guidance_rescal: no argument .* guidance_rescale\?"),
        ("sdxl", {"speed": {"compile": "regional"}}, "speed.compile: regional would leave out most of a UNet2DCondi"),
        ("sdxl", {"components": {"text_encoder": {"model": ".", "gguf": "x.gguf"}}}, "loaded as gguf: a CLIPTextModel"),
        ("sdxl", {"components": {"unet": {"model": ".", "gguf": "y.gguf"}}}, "components.unet: '.' .* is no y.gguf in"),
        ("sdxl", {"components": {"unet": {"model": "half"}}}, "but of the variant fp16; write variant: fp16"),
        ("flux-schnell", {"guidance": 4}, "^tier t: guidance: does nothing in this FluxPipeline"),
        ("flux-deep", {"quantization": {"transformer": {"kind": "bitsandbytes", "type": "int8"}}}, BITSANDBYTES),
        ("flux-deep", {"speed": {"attention": "sage"}}, "speed.attention: sage cannot be used: Sage Attention backend"),
        ("sd3", {"speed": {"attention": "_native_math"}}, "speed.attention: SD3Transformer2DModel has one attention"),
        ("sd3", {"speed": {"cache": {"kind": "firstBlock"}}}, "speed.cache: SD3Transformer2DModel has no step caches"),
        ("flux2-klein", {"speed": {"cache": {"kind": "firstBlock"}}}, ONE_STREAM),
        (
            "flux-deep",
            {"trueGuidance": 4, "speed": {"cache": {"kind": "fasterCache"}}},
            "^tier t: speed.cache: fasterCache does not tell guided calls",
        ),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_loaded(
    tiny: TinyModels, tmp_path: Path, model: str, fields: dict[str, Any], words: str
) -> None:
    emptied(tiny, model, tmp_path / "m")
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    (tmp_path / "half").mkdir()
    (tmp_path / "half/config.json").write_text(json.dumps({"_class_name": "UNet2DConditionModel"}))
    (tmp_path / "half/diffusion_pytorch_model.fp16.safetensors").write_bytes(b"")
    with pytest.raises(LoadError, match=words) as caught:
        check_tier(tiny_tier("m", **fields), tmp_path)
    assert str(caught.value).count("tier t: ") == 1


def test_files_that_are_there_pass(tiny: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emptied(tiny, "sdxl", tmp_path / "m")
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    (tmp_path / UNET_FILE).write_bytes(b"")
    monkeypatch.setattr("hadis_worker.speed.quantization._installed", lambda _: True)
    for unet in ({"gguf": "x.gguf"}, {"file": UNET_FILE}):
        check_tier(tiny_tier("m", components={"unet": {"model": ".", **unet}}), tmp_path)


def test_a_part_of_another_variant_is_told(tiny: TinyModels, tmp_path: Path) -> None:
    file = next((emptied(tiny, "sdxl", tmp_path / "m") / "unet").glob("*.safetensors"))
    file.rename(file.with_name(f"{file.stem}.fp16.safetensors"))
    with pytest.raises(LoadError, match="unet: there are no such files but of the variant fp16; write variant: fp16"):
        check_tier(tiny_tier("m"), tmp_path)
    check_tier(tiny_tier("m", variant="fp16"), tmp_path)
