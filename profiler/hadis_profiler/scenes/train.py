"""Train the example models: an autoencoder, and two sizes of a latent diffusion U-Net with its own text encoder.

Each model is saved in the diffusers layout as a StableDiffusionPipeline, so nothing special loads it. Training is
by velocity prediction (Salimans & Ho 2022, section 4) with a zero terminal signal-to-noise ratio (Lin et al. 2023,
section 3), without which few-step sampling cannot reach a black or a white background.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from hadis.cli.scenes import BACKGROUNDS, COLOURS, CORNERS, SHAPES, SIZES, random_scene
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from hadis_profiler.scenes.draw import PIXELS, draw

TOKENS = 32
SIZES_OF_UNET: dict[str, dict[str, Any]] = {
    "small": {"block_out_channels": (32, 64), "layers_per_block": 1},
    "large": {"block_out_channels": (64, 96), "layers_per_block": 1},
}


def words() -> list[str]:
    """Return every word of the scenes' captions, in a fixed order."""
    corner = [word for corner in CORNERS for word in corner.split()]
    return list(dict.fromkeys(["a", "and", "on", *SHAPES, *COLOURS, *SIZES, *corner, *BACKGROUNDS]))


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return a word-level tokenizer of the captions' words; any other word is unknown."""
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    vocabulary = {word: i for i, word in enumerate(special + words())}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=TOKENS,
    )


def make_scheduler() -> DDIMScheduler:
    """Return the noise schedule that training and sampling share."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,
    )


def pictures(rng: random.Random, count: int) -> tuple[list[str], torch.Tensor]:
    """Return captions and pictures of `count` random scenes; crowded ones come more often, for they are harder."""
    scenes = [random_scene(rng, rng.choice((1, 2, 3, 3, 4, 4))) for _ in range(count)]
    return [str(scene) for scene in scenes], draw(scenes, rng)


def train_autoencoder(out: Path, steps: int, seed: int = 0) -> AutoencoderKL:
    """Train and save the autoencoder (32x32x3 to 8x8x4); the scaling factor makes latents of unit variance."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(24, 48, 64),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=8,
        sample_size=PIXELS,
    )
    optimizer = torch.optim.AdamW(vae.parameters(), 2e-3, betas=(0.9, 0.99))
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * max(0.02, 1 - step / steps)
        _, images = pictures(rng, 32)
        posterior = vae.encode(images).latent_dist
        decoded = vae.decode(posterior.sample()).sample
        loss = (
            nn.functional.l1_loss(decoded, images)
            + nn.functional.mse_loss(decoded, images)
            + 1e-5 * posterior.kl().mean() / 64
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0:
            print(f"autoencoder step {step} loss {loss.item():.4f}", flush=True)
    with torch.no_grad():
        std = vae.encode(pictures(rng, 256)[1]).latent_dist.sample().std().item()
    vae.register_to_config(scaling_factor=1 / std)
    vae.save_pretrained(out / "vae")
    return vae


def train_diffusion(size: str, vae: AutoencoderKL, out: Path, steps: int, resume: bool = False, seed: int = 0) -> None:
    """Train one U-Net with its text encoder for `steps` and save the whole pipeline (averaged weights) to `out`."""
    torch.manual_seed(seed)
    rng = random.Random(seed + 1)
    tokenizer, scheduler = make_tokenizer(), make_scheduler()
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=PIXELS // 4,
        in_channels=4,
        out_channels=4,
        cross_attention_dim=128,
        attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        norm_num_groups=16,
        **SIZES_OF_UNET[size],
    )
    if resume:  # a second round at a falling rate, from the averaged weights of the first
        text = CLIPTextModel.from_pretrained(out / size / "text_encoder")
        unet = UNet2DConditionModel.from_pretrained(out / size / "unet")
    both = nn.ModuleDict({"unet": unet, "text": text})
    print(size, "parameters", sum(p.numel() for p in both.parameters()), flush=True)
    average = torch.optim.swa_utils.AveragedModel(both, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998))
    optimizer = torch.optim.AdamW(both.parameters(), 1e-3, betas=(0.9, 0.99), weight_decay=1e-3)
    vae.eval().requires_grad_(False)
    step, losses = 0, 0.0
    # A stock of encoded pictures, half of it fresh after each round, so that the autoencoder is not run every step.
    while step < steps:
        captions, images = pictures(rng, 1024)
        ids = tokenizer(
            captions, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt"
        ).input_ids
        blank = tokenizer([""], padding="max_length", max_length=TOKENS, return_tensors="pt").input_ids
        with torch.no_grad():
            stock = torch.cat([vae.encode(part).latent_dist.sample() for part in images.split(128)])
            stock = stock * vae.config.scaling_factor
        for part in (p for _ in range(4) for p in torch.randperm(len(stock)).split(64)):
            done = step / steps
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * min(1.0, step / 100) * max(0.02, 1 - max(0.0, done - 0.3) / 0.7)
            step += 1
            latents, tokens = stock[part], ids[part].clone()
            tokens[torch.rand(len(part)) < 0.1] = blank
            noise = torch.randn_like(latents)
            times = torch.randint(0, 1000, (len(part),))
            noisy = scheduler.add_noise(latents, noise, times)
            guess = unet(noisy, times, text(tokens)[0]).sample
            loss = nn.functional.mse_loss(guess, scheduler.get_velocity(latents, noise, times))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(both.parameters(), 1.0)
            optimizer.step()
            average.update_parameters(both)
            losses += loss.item()
            if step % 200 == 0:
                print(f"{size} step {step} ({done:.0%}) loss {losses / 200:.4f}", flush=True)
                losses = 0.0
    torch.optim.swa_utils.update_bn([], average)
    best: dict[str, Any] = dict(average.module.named_children())
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=best["text"],
        tokenizer=tokenizer,
        unet=best["unet"],
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(out / size, safe_serialization=True)


if __name__ == "__main__":
    import sys

    torch.set_num_threads(int(sys.argv[4]))
    what, folder, budget = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if what == "vae":
        train_autoencoder(folder, budget)
    else:
        train_diffusion(what, AutoencoderKL.from_pretrained(folder / "vae"), folder, budget, "resume" in sys.argv)
