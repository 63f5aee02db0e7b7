"""Families whose text encoder is a T5, a Gemma or a CLIP: PixArt, Sana, Lumina, AuraFlow, Chroma, HiDream, Bria,
CogView3."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers

from families.parts import WIDTH, clip, flow, gemma, llama, t5, tokenizer, umt5, vae

_MEGAPIXEL = 16
"""Side of the area in latents, in the place of 128."""


def _pixart(path: Path) -> None:
    transformer = diffusers.PixArtTransformer2DModel(
        sample_size=32,  # 256 x 256 pixels: the sizes that it bins to depend on it
        num_layers=1,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_channels=WIDTH,
        in_channels=4,
        cross_attention_dim=16,
        out_channels=8,
        norm_type="ada_norm_single",
    )
    diffusers.PixArtSigmaPipeline(
        tokenizer=tokenizer(),
        text_encoder=t5(),
        vae=vae(),
        transformer=transformer,
        scheduler=diffusers.DPMSolverMultistepScheduler(),
    ).save_pretrained(path)


def _dc_vae() -> Any:
    return diffusers.AutoencoderDC(
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=("ResBlock",) * 5 + ("EfficientViTBlock",),
        decoder_block_types=("ResBlock",) * 5 + ("EfficientViTBlock",),
        encoder_block_out_channels=(8,) * 6,
        decoder_block_out_channels=(8,) * 6,
        encoder_qkv_multiscales=((),) * 5 + ((5,),),
        decoder_qkv_multiscales=((),) * 5 + ((5,),),
        encoder_layers_per_block=(1,) * 6,
        decoder_layers_per_block=(1,) * 6,
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        scaling_factor=0.41407,
    )


def _sana(path: Path, sprint: bool) -> None:
    more = {"guidance_embeds": True, "qk_norm": "rms_norm_across_heads"} if sprint else {}
    transformer = diffusers.SanaTransformer2DModel(
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=4,
        num_cross_attention_heads=2,
        cross_attention_head_dim=4,
        cross_attention_dim=8,
        caption_channels=WIDTH,
        sample_size=32,
        **more,
    )
    kind = diffusers.SanaSprintPipeline if sprint else diffusers.SanaPipeline
    kind(
        tokenizer=tokenizer(),
        text_encoder=gemma(),
        vae=_dc_vae(),
        transformer=transformer,
        scheduler=diffusers.SCMScheduler() if sprint else flow(),
    ).save_pretrained(path)


def _lumina(path: Path) -> None:
    transformer = diffusers.Lumina2Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        hidden_size=24,
        num_layers=2,
        num_refiner_layers=1,
        num_attention_heads=3,
        num_kv_heads=1,
        multiple_of=2,
        axes_dim_rope=(4, 2, 2),
        axes_lens=(300, 128, 128),
        cap_feat_dim=WIDTH,
    )
    diffusers.Lumina2Pipeline(
        transformer=transformer, scheduler=flow(), vae=vae(), text_encoder=gemma(), tokenizer=tokenizer()
    ).save_pretrained(path)


def _aura(path: Path) -> None:
    transformer = diffusers.AuraFlowTransformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=WIDTH,
        pos_embed_max_size=256,
    )
    diffusers.AuraFlowPipeline(
        tokenizer=tokenizer(), text_encoder=umt5(), vae=vae(), transformer=transformer, scheduler=flow()
    ).save_pretrained(path)


def _chroma(path: Path) -> None:
    transformer = diffusers.ChromaTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
        approximator_hidden_dim=32,
        approximator_layers=1,
        approximator_num_channels=16,
    )
    diffusers.ChromaPipeline(
        scheduler=flow(), vae=vae(latent_channels=1), text_encoder=t5(), tokenizer=tokenizer(), transformer=transformer
    ).save_pretrained(path)


@contextlib.contextmanager
def small_megapixel() -> Iterator[None]:
    """Make the area small that HiDream scales every size to: with its own, an image takes a minute."""
    pipeline = diffusers.HiDreamImagePipeline
    pipeline.default_sample_size = property(lambda _: _MEGAPIXEL, lambda *_: None)
    yield
    del pipeline.default_sample_size


def _hidream(path: Path) -> None:
    transformer = diffusers.HiDreamImageTransformer2DModel(
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_channels=[WIDTH, WIDTH],
        text_emb_dim=2 * WIDTH,
        axes_dims_rope=(4, 2, 2),
        max_resolution=(_MEGAPIXEL, _MEGAPIXEL),
        llama_layers=[0, 1],
        force_inference_output=True,
    )
    diffusers.HiDreamImagePipeline(
        scheduler=flow(),
        vae=vae(),
        text_encoder=clip(projection=True, tokens=248),
        tokenizer=tokenizer(),
        text_encoder_2=clip(projection=True, tokens=248),
        tokenizer_2=tokenizer(),
        text_encoder_3=t5(),
        tokenizer_3=tokenizer(),
        text_encoder_4=llama(),
        tokenizer_4=tokenizer(),
        transformer=transformer,
    ).save_pretrained(path)


def _bria(path: Path) -> None:
    transformer = diffusers.BriaTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=[4, 4, 8],
    )
    diffusers.BriaPipeline(
        transformer=transformer, scheduler=flow(), vae=vae(), text_encoder=t5(), tokenizer=tokenizer()
    ).save_pretrained(path)


def _cogview3(path: Path) -> None:
    transformer = diffusers.CogView3PlusTransformer2DModel(
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=4,
        num_attention_heads=2,
        text_embed_dim=WIDTH,
        time_embed_dim=8,
        condition_dim=2,
        pos_embed_max_size=16,
        sample_size=8,
    )
    diffusers.CogView3PlusPipeline(
        tokenizer=tokenizer(),
        text_encoder=t5(),
        vae=vae(),
        transformer=transformer,
        scheduler=diffusers.CogVideoXDDIMScheduler(),
    ).save_pretrained(path)


BUILDERS: dict[str, Callable[[Path], None]] = {
    "pixart": _pixart,
    "sana": functools.partial(_sana, sprint=False),
    "sana-sprint": functools.partial(_sana, sprint=True),
    "lumina2": _lumina,
    "auraflow": _aura,
    "chroma": _chroma,
    "hidream": _hidream,
    "bria": _bria,
    "cogview3": _cogview3,
}
