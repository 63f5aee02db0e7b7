"""What diffusers is told of quantized components, what is refused, and that torchao quantizes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
from fast_tiers import refusal
from hadis_worker.errors import LoadError
from hadis_worker.loading.modules import Modules
from hadis_worker.loading.tiers import load_painter, load_pipeline
from hadis_worker.painter import Call
from hadis_worker.speed import quantization
from hadis_worker.speed.quantization import quantization_configs
from tiny_models import LORA_FILE, TinyModels, tiny_tier

INT8 = {"kind": "torchao", "type": "int8WeightOnly"}
NF4 = {"kind": "bitsandbytes", "type": "nf4", "skip": ["proj_out"]}
INDEX = {"unet": ["diffusers", "UNet2DConditionModel"], "text_encoder": ["transformers", "CLIPTextModel"]}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for torchao and bitsandbytes, and for configurations that note what they are given."""
    monkeypatch.setattr(quantization, "_installed", lambda _: True)
    monkeypatch.setattr(quantization, "_torchao_type", lambda name: name)
    for owner in ("diffusers", "transformers"):
        for name in ("TorchAoConfig", "BitsAndBytesConfig"):
            monkeypatch.setattr(f"{quantization.__name__}.{owner}.{name}", _note(owner, name))


def _note(owner: str, name: str) -> Any:
    return lambda *values, **options: (f"{owner}.{name}", *values, {k: v for k, v in options.items() if v is not None})


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("component", "how", "config"),
    [
        ("unet", INT8, ("diffusers.TorchAoConfig", "int8WeightOnly", {})),
        ("text_encoder", INT8, ("transformers.TorchAoConfig", "int8WeightOnly", {})),
        (
            "unet",
            NF4,
            (
                "diffusers.BitsAndBytesConfig",
                {
                    "load_in_4bit": True,
                    "bnb_4bit_quant_type": "nf4",
                    "bnb_4bit_compute_dtype": torch.bfloat16,
                    "llm_int8_skip_modules": ["proj_out"],
                },
            ),
        ),
        (
            "text_encoder",
            {"kind": "bitsandbytes", "type": "int8"},
            ("transformers.BitsAndBytesConfig", {"load_in_8bit": True}),
        ),
    ],
)
def test_each_library_is_told_by_its_own_configuration(component: str, how: dict[str, Any], config: Any) -> None:
    tier = tiny_tier("m", quantization={component: how})
    assert quantization_configs(tier, INDEX, (), torch.bfloat16) == {component: config}


@pytest.mark.usefixtures("installed")
def test_components_are_loaded_with_their_configurations_and_shared_with_none(
    tiny: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs: list[Any] = []
    as_it_is = diffusers.StableDiffusionXLPipeline.from_pretrained

    def noted(source: Any, quantization_config: Any = None, **options: Any) -> Any:
        configs.append(quantization_config and quantization_config.mapping)
        return as_it_is(source, **options)

    monkeypatch.setattr(diffusers.StableDiffusionXLPipeline, "from_pretrained", noted)
    monkeypatch.setattr(
        "hadis_worker.loading.tiers.PipelineQuantizationConfig",
        lambda quant_mapping: SimpleNamespace(mapping=quant_mapping),
    )
    modules, path = Modules(), tiny.get("sdxl")
    plain = load_pipeline(tiny_tier(path), Path(), torch.float32, modules)
    quantized = load_pipeline(tiny_tier(path, quantization={"unet": INT8}), Path(), torch.float32, modules)
    assert configs == [None, {"unet": ("diffusers.TorchAoConfig", "int8WeightOnly", {})}]
    assert quantized.unet is not plain.unet
    assert quantized.vae is plain.vae


@pytest.mark.usefixtures("installed")
def test_a_component_from_elsewhere_is_quantized_too(tiny: TinyModels, monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[Any] = []
    as_it_is = diffusers.UNet2DConditionModel.from_pretrained

    def noted(source: Any, quantization_config: Any = None, **options: Any) -> Any:
        configs.append(quantization_config)
        return as_it_is(source, **options)

    monkeypatch.setattr(diffusers.UNet2DConditionModel, "from_pretrained", noted)
    unet = {"model": str(tiny.get("lightning")), "subfolder": "unet"}
    tier = tiny_tier(tiny.get("sdxl"), components={"unet": unet}, quantization={"unet": INT8})
    load_pipeline(tier, Path(), torch.float32, Modules())
    assert configs == [("diffusers.TorchAoConfig", "int8WeightOnly", {})]


def fault(tiny: TinyModels, **fields: Any) -> str:
    """Return why a tier is not loaded."""
    with pytest.raises(LoadError) as caught:
        load_painter(tiny_tier("sdxl", **fields), tiny.folder, "cpu")
    return str(caught.value)


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no library that quantizes."""
    monkeypatch.setattr(quantization, "_installed", lambda _: False)


@pytest.mark.usefixtures("missing")
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"quantization": {"unet": INT8}}, "quantization.unet: the library torchao is not installed; pip install 'had"),
        ({"quantization": {"unet": NF4}}, "quantization.unet: the library bitsandbytes is not installed; pip install"),
        ({"quantization": {"transformer": INT8}}, "quantization.transformer: the pipeline has no such component; it"),
        (
            {"quantization": {"unet": INT8}, "loras": [{"model": "lightning", "file": LORA_FILE}]},
            "quantization.unet: LoRAs cannot be fused into quantized weights; leave one of them out",
        ),
        (
            {"components": {"unet": {"model": "lightning", "gguf": "unet.gguf"}}},
            "components.unet: 'lightning' cannot be used: there is no unet.gguf in ",
        ),
    ],
)
def test_what_cannot_be_quantized(tiny: TinyModels, fields: dict[str, Any], words: str) -> None:
    tiny.get("sdxl"), tiny.get("lightning")
    assert f"tier t: model 'sdxl' cannot be loaded: {words}" in fault(tiny, **fields)


def test_the_library_that_reads_gguf(tiny: TinyModels, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.get("sdxl")
    monkeypatch.setattr(quantization, "_installed", lambda library: library != "gguf")
    file = tiny.get("lightning") / "unet.gguf"
    file.write_bytes(b"GGUF")
    try:
        words = fault(tiny, components={"unet": {"model": "lightning", "gguf": "unet.gguf"}})
    finally:
        file.unlink()  # the models are kept for other runs
    assert words.endswith("components.unet: the library gguf is not installed; pip install 'hadis[speed]'")


def test_torchao_quantizes_and_the_image_stays_what_it_was(tiny: TinyModels) -> None:
    pytest.importorskip("torchao")
    from torchao.utils import TorchAOBaseTensor  # late, for it may be missing

    call, weights, images = Call(("a cat",), None, (0,), 32, 32, 2, None), [], []
    for how in ({}, {"unet": INT8}):
        painter = load_painter(tiny_tier(tiny.get("sdxl"), quantization=how), Path(), "cpu")
        linear = [part for part in painter._pipeline.unet.modules() if isinstance(part, torch.nn.Linear)]
        assert all(isinstance(part.weight, TorchAOBaseTensor) == bool(how) for part in linear)
        weights.append(painter.weight_bytes["unet"])
        with torch.inference_mode():
            images.append(painter.paint(call).pixels)
    assert weights[1] < 0.8 * weights[0]
    difference = float(abs(images[1] - images[0]).max())
    assert 0 < difference < 0.05, "another image, and almost the same"


def test_settings_of_speed_name_their_tier(tiny: TinyModels) -> None:
    tiny.get("sdxl")
    words = fault(tiny, speed={"compile": "regional"})
    assert words.startswith("tier t: speed.compile: regional would leave out most of a UNet2DConditionModel")
    assert refusal(tiny.get("sdxl"), speed={"compile": "regional"}) in words
