"""Models of a few thousand random weights in the layout of real ones, built from diffusers' classes without a network.

Their images are noise, but differ with every argument that acts.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
from hadis.api.resources import BatchLatency, Tier
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

_TOKENS = 77
_CHARACTERS = [chr(code) for code in range(32, 127)]
UNET_FILE = "sdxl_lightning_2step_unet.safetensors"
LORA_FILE = "sdxl_lightning_2step_lora.safetensors"


class TinyModels:
    """A folder of models, each of which is made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        """Take an empty folder."""
        self.folder = folder

    def get(self, name: str) -> Path:
        """Return the folder of one of `BUILDERS`."""
        path = self.folder / name
        if not path.exists():
            torch.manual_seed(len(name))
            BUILDERS[name](path)
        return path


def tiny_tier(model: str | Path, **fields: Any) -> Tier:
    """Return a tier of a model, of 32 x 32 pixels and two steps unless `fields` say otherwise."""
    document = {"name": "t", "steps": 2, "size": "32x32", **fields, "model": str(model)}
    return Tier.model_validate({**document, "latency": (BatchLatency(batch=1, seconds=1),)})


def _tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of characters."""
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(["<pad>", "</s>", "<s>", *_CHARACTERS])}, unk_token="<pad>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=_TOKENS
    )


def _clip(projection: bool = False) -> Any:
    config = CLIPTextConfig(
        vocab_size=128,
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=_TOKENS,
        projection_dim=32,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


def _t5() -> Any:
    return T5EncoderModel(T5Config(vocab_size=128, d_model=32, d_ff=37, d_kv=8, num_heads=4, num_layers=1))


def _vae(latent_channels: int = 4) -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=latent_channels,
        sample_size=32,
        scaling_factor=1.5,
        shift_factor=0.0609,
    )


def _unet(**more: Any) -> Any:
    return diffusers.UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        norm_num_groups=8,
        **{"cross_attention_dim": 32, **more},
    )


def _sdxl_unet() -> Any:
    return _unet(
        cross_attention_dim=64,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=80,
    )


def _sd15(path: Path) -> None:
    diffusers.StableDiffusionPipeline(
        vae=_vae(),
        text_encoder=_clip(),
        tokenizer=_tokenizer(),
        unet=_unet(),
        scheduler=diffusers.PNDMScheduler(skip_prk_steps=True, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(path)


def _sdxl(path: Path) -> None:
    diffusers.StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=_clip(),
        text_encoder_2=_clip(projection=True),
        tokenizer=_tokenizer(),
        tokenizer_2=_tokenizer(),
        unet=_sdxl_unet(),
        scheduler=diffusers.EulerDiscreteScheduler(timestep_spacing="leading"),
    ).save_pretrained(path)


def _lightning(path: Path) -> None:
    """SDXL-Lightning's layout: no model_index.json, UNets and LoRAs as single files, here beside a bare UNet folder."""
    unet = _sdxl_unet()
    unet.save_pretrained(path / "unet")
    save_file(unet.state_dict(), path / UNET_FILE)
    unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v"], init_lora_weights=False))
    layers = get_peft_model_state_dict(unet)
    diffusers.StableDiffusionXLPipeline.save_lora_weights(path, unet_lora_layers=layers, weight_name=LORA_FILE)


def _sd3(path: Path) -> None:
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=16,
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=32,
        pooled_projection_dim=64,
    )
    diffusers.StableDiffusion3Pipeline(
        vae=_vae(),
        text_encoder=_clip(projection=True),
        text_encoder_2=_clip(projection=True),
        text_encoder_3=_t5(),
        tokenizer=_tokenizer(),
        tokenizer_2=_tokenizer(),
        tokenizer_3=_tokenizer(),
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
    ).save_pretrained(path)


def _flux(path: Path, guidance_embeds: bool) -> None:
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=guidance_embeds,
    )
    diffusers.FluxPipeline(
        vae=_vae(latent_channels=1),
        text_encoder=_clip(),
        text_encoder_2=_t5(),
        tokenizer=_tokenizer(),
        tokenizer_2=_tokenizer(),
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
    ).save_pretrained(path)


BUILDERS: dict[str, Callable[[Path], None]] = {
    "sd15": _sd15,
    "sdxl": _sdxl,
    "lightning": _lightning,
    "sd3": _sd3,
    "flux-dev": lambda path: _flux(path, guidance_embeds=True),
    "flux-schnell": lambda path: _flux(path, guidance_embeds=False),
}
