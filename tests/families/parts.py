"""Tokenizers, text encoders and VAEs of a few thousand random weights, which the families put together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import transformers
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

TOKENS = 77
WIDTH = 32
"""Of every text encoder's output."""
_CHARACTERS = [chr(code) for code in range(32, 127)]
_VOCABULARY = {
    "vocab_size": 128,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}
_DECODER = {
    **_VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 2048,
}
_CHAT = "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{% endfor %}"
_CHAT_OF_PARTS = _CHAT.replace("message['content']", "message['content'][0]['text']")


def tokenizer(chat: bool = False, parts: bool = False) -> transformers.PreTrainedTokenizerFast:
    """Return a tokenizer of characters; with `chat` it has a template, of messages in `parts` where that is asked."""
    made = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(["<pad>", "</s>", "<s>", *_CHARACTERS])}, unk_token="<pad>")
    )
    made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 1)])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=TOKENS
    )
    if chat:
        fast.chat_template = _CHAT_OF_PARTS if parts else _CHAT
    return fast


def clip(projection: bool = False, tokens: int = TOKENS) -> Any:
    """Return a CLIP text encoder, with SDXL's or SD3's projection where that is asked."""
    config = transformers.CLIPTextConfig(
        **_VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokens,
        projection_dim=WIDTH,
    )
    return (transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel)(config)


def t5(vocabulary: int = 128) -> Any:
    """Return a T5 encoder."""
    return transformers.T5EncoderModel(
        transformers.T5Config(vocab_size=vocabulary, d_model=WIDTH, d_ff=37, d_kv=8, num_heads=4, num_layers=1)
    )


def umt5() -> Any:
    """Return AuraFlow's encoder."""
    return transformers.UMT5EncoderModel(
        transformers.UMT5Config(vocab_size=128, d_model=WIDTH, d_ff=37, d_kv=8, num_heads=4, num_layers=1)
    )


def gemma() -> Any:
    """Return the decoder of Sana and Lumina."""
    return transformers.Gemma2Model(transformers.Gemma2Config(**_DECODER))


def qwen3(layers: int = 2) -> Any:
    """Return the decoder of Z-Image and FLUX.2 klein."""
    config = transformers.Qwen3Config(**{**_DECODER, "num_hidden_layers": layers})
    return transformers.Qwen3ForCausalLM(config) if layers > 2 else transformers.Qwen3Model(config)


def qwen_vl() -> Any:
    """Return the decoder of Qwen-Image and HunyuanImage."""
    text = {**_DECODER, "rope_scaling": {"mrope_section": [2, 2, 4], "rope_type": "default", "type": "default"}}
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": WIDTH}
    config = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision)
    return transformers.Qwen2_5_VLForConditionalGeneration(config)


def mistral() -> Any:
    """Return the decoder of FLUX.2, whose layers 10, 20 and 30 are read."""
    text = {**_DECODER, "model_type": "mistral", "num_hidden_layers": 31}
    vision = {
        "model_type": "pixtral",
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "image_size": 16,
        "patch_size": 8,
    }
    config = transformers.Mistral3Config(text_config=text, vision_config=vision, image_token_index=127)
    return transformers.Mistral3ForConditionalGeneration(config)


def llama() -> Any:
    """Return HiDream's fourth text encoder."""
    config = transformers.LlamaConfig(**_DECODER, attn_implementation="eager")
    return transformers.LlamaForCausalLM(config)


def glm() -> Any:
    """Return CogView4's decoder."""
    return transformers.GlmModel(transformers.GlmConfig(**_DECODER))


def vae(latent_channels: int = 4, levels: int = 4) -> Any:
    """Return a VAE that halves a side `levels` - 1 times: as many as real ones, for sizes go by it."""
    return diffusers.AutoencoderKL(
        block_out_channels=(8,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        norm_num_groups=4,
        latent_channels=latent_channels,
        sample_size=32,
        scaling_factor=1.5,
        shift_factor=0.0609,
    )


def unet(**more: Any) -> Any:
    """Return the UNet of SD 1.5."""
    return diffusers.UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        norm_num_groups=8,
        **{"cross_attention_dim": WIDTH, **more},
    )


def sdxl_unet(cross_attention_dim: int = 2 * WIDTH) -> Any:
    """Return the UNet of SDXL, or of Kolors where it reads one text encoder."""
    return unet(
        cross_attention_dim=cross_attention_dim,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=80,
    )


def flow() -> Any:
    """Return the scheduler of most transformers."""
    return diffusers.FlowMatchEulerDiscreteScheduler()


def write_clip(folder: Path) -> None:
    """Write a CLIP with random weights that takes no time."""
    letters = [chr(c) for c in range(33, 127)]
    words = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: i for i, word in enumerate(words)}
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    words_of = transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**small, "vocab_size": len(vocabulary), "max_position_embeddings": 16, "eos_token_id": 189},
        vision_config={**small, "image_size": 16, "patch_size": 8},
        projection_dim=8,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    transformers.CLIPProcessor(
        image_processor=transformers.CLIPImageProcessor(
            size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
        ),
        tokenizer=words_of,
    ).save_pretrained(folder)
