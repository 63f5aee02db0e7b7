"""Families that read prompts with a language model: Qwen, Z-Image, Hunyuan, FLUX.2, CogView4, Kolors, OmniGen, Ovis."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from families.parts import WIDTH, flow, glm, mistral, qwen3, qwen_vl, sdxl_unet, t5, tokenizer, vae


def _qwen(path: Path) -> None:
    latents = 4
    transformer = diffusers.QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=4 * latents,
        out_channels=latents,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(8, 4, 4),
    )
    diffusers.QwenImagePipeline(
        scheduler=flow(), vae=_qwen_vae(latents), text_encoder=qwen_vl(), tokenizer=tokenizer(), transformer=transformer
    ).save_pretrained(path)


def _qwen_vae(latents: int) -> Any:
    return diffusers.AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=latents,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * latents,
        latents_std=[1.0] * latents,
    )


def _z_image(path: Path) -> None:
    transformer = diffusers.ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=WIDTH,
        axes_dims=[8, 4, 4],
        axes_lens=[1024, 64, 64],
    )
    diffusers.ZImagePipeline(
        scheduler=flow(), vae=vae(), text_encoder=qwen3(), tokenizer=tokenizer(chat=True), transformer=transformer
    ).save_pretrained(path)


def _hunyuan(path: Path, distilled: bool) -> None:
    transformer = diffusers.HunyuanImageTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=4,
        attention_head_dim=8,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        guidance_embeds=distilled,
        use_meanflow=distilled,
        text_embed_dim=WIDTH,
        text_embed_2_dim=WIDTH,
        rope_axes_dim=(4, 4),
    )
    own = diffusers.AutoencoderKLHunyuanImage(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(32,) * 6,
        layers_per_block=1,
        spatial_compression_ratio=32,
        sample_size=128,
        scaling_factor=0.476986,
    )
    # As the real ones, they differ in when they begin with another formula.
    guiders = [
        None if distilled else diffusers.AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=step)
        for step in (1, 7)
    ]
    diffusers.HunyuanImagePipeline(
        scheduler=flow(),
        vae=own,
        text_encoder=qwen_vl(),
        tokenizer=tokenizer(),
        text_encoder_2=t5(vocabulary=384),
        tokenizer_2=transformers.ByT5Tokenizer(),
        transformer=transformer,
        guider=guiders[0],
        ocr_guider=guiders[1],
    ).save_pretrained(path)


def _flux2(path: Path, klein: bool) -> None:
    latents = 4
    transformer = diffusers.Flux2Transformer2DModel(
        in_channels=4 * latents,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * WIDTH,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=not klein,
    )
    own = diffusers.AutoencoderKLFlux2(
        block_out_channels=(8,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=latents,
        norm_num_groups=4,
        sample_size=32,
    )
    common = {"scheduler": flow(), "vae": own, "transformer": transformer}
    if klein:
        made = diffusers.Flux2KleinPipeline(
            **common, text_encoder=qwen3(layers=28), tokenizer=tokenizer(chat=True), is_distilled=True
        )
    else:
        made = diffusers.Flux2Pipeline(**common, text_encoder=mistral(), tokenizer=tokenizer(chat=True, parts=True))
    made.save_pretrained(path)


def _cogview(path: Path) -> None:
    transformer = diffusers.CogView4Transformer2DModel(
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        text_embed_dim=WIDTH,
        time_embed_dim=8,
        condition_dim=4,
        rope_axes_dim=(64, 64),
    )
    diffusers.CogView4Pipeline(
        tokenizer=tokenizer(), text_encoder=glm(), vae=vae(), transformer=transformer, scheduler=flow()
    ).save_pretrained(path)


def _kolors(path: Path) -> None:
    from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel

    encoder = ChatGLMModel(
        ChatGLMConfig(
            num_layers=2,
            padded_vocab_size=300,
            hidden_size=WIDTH,
            ffn_hidden_size=32,
            kv_channels=8,
            num_attention_heads=4,
            multi_query_attention=True,
            multi_query_group_num=1,
            add_qkv_bias=True,
            original_rope=True,
        ),
        empty_init=False,
    )
    for name, weight in encoder.named_parameters():
        if "norm" in name:
            torch.nn.init.ones_(weight)  # they are left as memory was
    diffusers.KolorsPipeline(
        vae=vae(),
        text_encoder=encoder,
        tokenizer=_glm_tokenizer(path),
        unet=sdxl_unet(cross_attention_dim=WIDTH),
        scheduler=diffusers.EulerDiscreteScheduler(),
    ).save_pretrained(path)


def _glm_tokenizer(path: Path) -> Any:
    """Return Kolors' tokenizer with a vocabulary of characters."""
    import sentencepiece
    from diffusers.pipelines.kolors.tokenizer import ChatGLMTokenizer

    text = iter(["".join(chr(code) for code in range(33, 127))] * 4)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=text, model_writer=model, model_type="char", vocab_size=98, minloglevel=2
    )
    path.mkdir()
    (path / "vocabulary.model").write_bytes(model.getvalue())
    return ChatGLMTokenizer(str(path / "vocabulary.model"))


def _omnigen(path: Path) -> None:
    transformer = diffusers.OmniGenTransformer2DModel(
        hidden_size=WIDTH,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=32,
        num_layers=1,
        in_channels=4,
        time_step_dim=4,
        vocab_size=128,
        pad_token_id=0,
        rope_scaling={"long_factor": list(range(1, 9)), "short_factor": list(range(1, 9))},
    )
    diffusers.OmniGenPipeline(
        transformer=transformer, scheduler=flow(), vae=vae(), tokenizer=tokenizer()
    ).save_pretrained(path)


def _ovis(path: Path) -> None:
    transformer = diffusers.OvisImageTransformer2DModel(
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
    )
    diffusers.OvisImagePipeline(
        scheduler=flow(),
        vae=vae(latent_channels=1),
        text_encoder=qwen3(),
        tokenizer=tokenizer(chat=True),
        transformer=transformer,
    ).save_pretrained(path)


BUILDERS: dict[str, Callable[[Path], None]] = {
    "qwen-image": _qwen,
    "z-image": _z_image,
    "hunyuan-image": functools.partial(_hunyuan, distilled=False),
    "hunyuan-image-distilled": functools.partial(_hunyuan, distilled=True),
    "flux2": functools.partial(_flux2, klein=False),
    "flux2-klein": functools.partial(_flux2, klein=True),
    "cogview4": _cogview,
    "kolors": _kolors,
    "omnigen": _omnigen,
    "ovis": _ovis,
}
