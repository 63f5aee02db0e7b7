"""What the families are made of: the configs of real models, as their repositories have them, and of tiny ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Part:
    """A module: diffusers' class and its config, without what the class has as default."""

    kind: str
    config: Mapping[str, Any]

    def but(self, **changes: Any) -> Part:
        """Return the part with another config."""
        return replace(self, config={**self.config, **changes})


@dataclass(frozen=True)
class Text:
    """The shape of what text encoders make of a prompt."""

    tokens: int
    width: int
    pooled: int = 0


@dataclass(frozen=True)
class Family:
    """A pipeline without its text encoders."""

    pipeline: str
    denoiser: Part
    vae: Part
    text: Text
    scheduler: str = "FlowMatchEulerDiscreteScheduler"

    @property
    def denoiser_name(self) -> str:
        """What the pipeline calls what runs at every step."""
        return "unet" if "UNet" in self.denoiser.kind else "transformer"


_LEVELS = 4
_VAE = Part(
    "AutoencoderKL",
    {
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * _LEVELS,
        "up_block_types": ("UpDecoderBlock2D",) * _LEVELS,
        "layers_per_block": 2,
        "sample_size": 1024,
    },
)
_VAE_OF_16 = _VAE.but(latent_channels=16, use_quant_conv=False, use_post_quant_conv=False)
_SD35 = Part(
    "SD3Transformer2DModel",
    {
        "num_layers": 38,
        "num_attention_heads": 38,
        "caption_projection_dim": 2432,
        "pos_embed_max_size": 192,
        "qk_norm": "rms_norm",
    },
)

REAL: Mapping[str, Family] = {
    "sdxl": Family(
        "StableDiffusionXLPipeline",
        Part(
            "UNet2DConditionModel",
            {
                "sample_size": 128,
                "block_out_channels": (320, 640, 1280),
                "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
                "transformer_layers_per_block": (1, 2, 10),
                "attention_head_dim": (5, 10, 20),
                "cross_attention_dim": 2048,
                "use_linear_projection": True,
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": 256,
                "projection_class_embeddings_input_dim": 2816,
            },
        ),
        _VAE.but(scaling_factor=0.13025),
        Text(77, 2048, 1280),
        "EulerDiscreteScheduler",
    ),
    "sd35-large": Family(
        "StableDiffusion3Pipeline",
        _SD35,
        _VAE_OF_16.but(scaling_factor=1.5305, shift_factor=0.0609),
        Text(333, 4096, 2048),
    ),
    "sd35-medium": Family(
        "StableDiffusion3Pipeline",
        _SD35.but(
            num_layers=24,
            num_attention_heads=24,
            caption_projection_dim=1536,
            pos_embed_max_size=384,
            dual_attention_layers=tuple(range(13)),
        ),
        _VAE_OF_16.but(scaling_factor=1.5305, shift_factor=0.0609),
        Text(333, 4096, 2048),
    ),
    "flux": Family(
        "FluxPipeline",
        Part("FluxTransformer2DModel", {"guidance_embeds": True}),
        _VAE_OF_16.but(scaling_factor=0.3611, shift_factor=0.1159),
        Text(512, 4096, 768),
    ),
    "z-image": Family(
        "ZImagePipeline",
        Part("ZImageTransformer2DModel", {}),
        _VAE_OF_16.but(scaling_factor=0.3611, shift_factor=0.1159),
        Text(128, 2560),
    ),
    "qwen-image": Family(
        "QwenImagePipeline",
        Part("QwenImageTransformer2DModel", {}),
        Part("AutoencoderKLQwenImage", {}),
        Text(128, 3584),
    ),
}

_WIDTH = 32
_TINY_DENOISERS: Mapping[str, Mapping[str, Any]] = {
    "UNet2DConditionModel": {
        "block_out_channels": (16, 32, 32),
        "layers_per_block": 1,
        "transformer_layers_per_block": (1, 1, 1),
        "attention_head_dim": (2, 4, 4),
        "norm_num_groups": 8,
        "cross_attention_dim": 2 * _WIDTH,  # of two text encoders
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + _WIDTH,
    },
    "SD3Transformer2DModel": {
        "num_layers": 3,
        "attention_head_dim": 8,
        "num_attention_heads": 4,
        "caption_projection_dim": 32,
        "joint_attention_dim": _WIDTH,
        "pooled_projection_dim": _WIDTH,
        "pos_embed_max_size": 16,
    },
    "FluxTransformer2DModel": {
        "num_layers": 2,
        "num_single_layers": 2,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": _WIDTH,
        "pooled_projection_dim": _WIDTH,
        "axes_dims_rope": (4, 4, 8),
    },
    "ZImageTransformer2DModel": {
        "dim": 32,
        "n_layers": 2,
        "n_refiner_layers": 1,
        "n_heads": 2,
        "n_kv_heads": 2,
        "cap_feat_dim": _WIDTH,
        "axes_dims": (8, 4, 4),
        "axes_lens": (1024, 64, 64),
    },
    "QwenImageTransformer2DModel": {
        "num_layers": 2,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": _WIDTH,
        "axes_dims_rope": (8, 4, 4),
    },
}
_TINY_VAES: Mapping[str, Mapping[str, Any]] = {
    "AutoencoderKL": {"block_out_channels": (8,) * _LEVELS, "norm_num_groups": 4},
    "AutoencoderKLQwenImage": {"base_dim": 8, "dim_mult": [1] * _LEVELS, "num_res_blocks": 1},
}


def tiny(family: Family) -> Family:
    """Return the family with some thousand weights."""
    denoiser = family.denoiser.but(**_TINY_DENOISERS[family.denoiser.kind])
    if "dual_attention_layers" in denoiser.config:
        denoiser = denoiser.but(dual_attention_layers=(0,))
    two = family.denoiser_name == "unet"
    return replace(
        family,
        denoiser=denoiser,
        vae=family.vae.but(**_TINY_VAES[family.vae.kind]),
        text=Text(8, _WIDTH * (2 if two else 1), family.text.pooled and _WIDTH),
    )
