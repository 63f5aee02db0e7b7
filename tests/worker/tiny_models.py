"""Models of a few thousand random weights in the layout of real ones, built from diffusers' classes without a network.

Their images are noise, but differ with every argument that acts.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import shutil
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
from families import flow_models, language_models
from families.parts import clip, flow, sdxl_unet, t5, tokenizer, unet, vae
from hadis.api.tier import BatchLatency, Tier
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file

UNET_FILE = "sdxl_lightning_2step_unet.safetensors"
LORA_FILE = "sdxl_lightning_2step_lora.safetensors"
LCM_FILE = "pytorch_lora_weights.safetensors"
_KEPT_S = 30 * 24 * 3600
_MADE_WITH = ("torch", "diffusers", "transformers", "peft", "safetensors", "tokenizers")


class TinyModels:
    """A folder of models, each of which is made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        """Take a folder: an empty one, or one that was filled by the same builders."""
        self.folder = folder

    def get(self, name: str) -> Path:
        """Return the folder of one of `BUILDERS`."""
        path = self.folder / name
        if not path.exists():
            torch.manual_seed(zlib.crc32(name.encode()))
            draft = self.folder / f".{name}.{os.getpid()}"
            BUILDERS[name](draft)
            try:
                draft.rename(path)  # whole or not at all, whoever is killed meanwhile
            except OSError:
                if not path.exists():
                    raise
                shutil.rmtree(draft)  # another process was first
        return path


def kept_folder() -> Path:
    """Return where the models are kept between runs, of all clones; what nobody has used for long is removed."""
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hadis/tiny-models"
    folder = kept / _made_by()
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    for other in kept.iterdir():
        if time.time() - other.stat().st_mtime > _KEPT_S:
            shutil.rmtree(other, ignore_errors=True)
    return folder


def _made_by() -> str:
    """Return a hash of everything that tiny models depend on."""
    digest = hashlib.sha256("".join(importlib.metadata.version(name) for name in _MADE_WITH).encode())
    here = Path(__file__)
    for path in (
        here,
        *sorted((here.parents[1] / "families").glob("*_models.py")),
        here.parents[1] / "families/parts.py",
    ):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def tiny_tier(model: str | Path, **fields: Any) -> Tier:
    """Return a tier of a model, of 32 x 32 pixels and two steps unless `fields` say otherwise."""
    document = {"name": "t", "steps": 2, "size": "32x32", **fields, "model": str(model)}
    return Tier.model_validate({**document, "latency": (BatchLatency(batch=1, seconds=1),)})


def _sd15(path: Path, scheduler: Any = None) -> None:
    diffusers.StableDiffusionPipeline(
        vae=vae(),
        text_encoder=clip(),
        tokenizer=tokenizer(),
        unet=unet(),
        scheduler=scheduler or diffusers.PNDMScheduler(skip_prk_steps=True, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(path)


def _sd21(path: Path) -> None:
    _sd15(path, diffusers.DDIMScheduler(prediction_type="v_prediction", steps_offset=1, clip_sample=False))


def _lcm(path: Path) -> None:
    diffusers.LatentConsistencyModelPipeline(
        vae=vae(),
        text_encoder=clip(),
        tokenizer=tokenizer(),
        unet=unet(time_cond_proj_dim=32),  # which reads the guidance
        scheduler=diffusers.LCMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(path)


def _sdxl(path: Path, scheduler: Any = None) -> None:
    diffusers.StableDiffusionXLPipeline(
        vae=vae(),
        text_encoder=clip(),
        text_encoder_2=clip(projection=True),
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(),
        unet=sdxl_unet(),
        scheduler=scheduler or diffusers.EulerDiscreteScheduler(timestep_spacing="leading"),
    ).save_pretrained(path)


def _turbo(path: Path) -> None:
    _sdxl(path, diffusers.EulerAncestralDiscreteScheduler(timestep_spacing="trailing"))


def _lightning(path: Path) -> None:
    """SDXL-Lightning's layout: no model_index.json, UNets and LoRAs as single files, here beside a bare UNet folder."""
    model = sdxl_unet()
    model.save_pretrained(path / "unet")
    save_file(model.state_dict(), path / UNET_FILE)
    _lora(path, LORA_FILE, model)


def _lora(path: Path, file: str, model: Any) -> None:
    model.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v"], init_lora_weights=False))
    layers = get_peft_model_state_dict(model)
    diffusers.StableDiffusionXLPipeline.save_lora_weights(path, unet_lora_layers=layers, weight_name=file)


def _sd3(path: Path, seed: int, layers: int = 2) -> None:
    torch.manual_seed(seed)
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=16,  # its pipeline for masks knows no other number
        out_channels=16,
        num_layers=layers,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=32,
        pooled_projection_dim=64,
    )
    torch.manual_seed(0)  # text encoders and VAE are those of every seed
    diffusers.StableDiffusion3Pipeline(
        vae=vae(latent_channels=16),
        text_encoder=clip(projection=True),
        text_encoder_2=clip(projection=True),
        text_encoder_3=t5(),
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(),
        tokenizer_3=tokenizer(),
        transformer=transformer,
        scheduler=flow(),
    ).save_pretrained(path)


def _flux(path: Path, guidance_embeds: bool, layers: int = 1) -> None:
    torch.manual_seed(guidance_embeds)
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=layers,
        num_single_layers=layers,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=guidance_embeds,
    )
    torch.manual_seed(2)  # text encoders and VAE are those of both
    diffusers.FluxPipeline(
        vae=vae(latent_channels=1),
        text_encoder=clip(),
        text_encoder_2=t5(),
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(),
        transformer=transformer,
        scheduler=flow(),
    ).save_pretrained(path)


BUILDERS: dict[str, Callable[[Path], None]] = {
    "sd15": _sd15,
    "sd21": _sd21,
    "lcm": _lcm,
    "sdxl": _sdxl,
    "playground": lambda path: _sdxl(path, diffusers.EDMDPMSolverMultistepScheduler()),
    "sdxl-turbo": _turbo,
    "lightning": _lightning,
    "lcm-lora": lambda path: _lora(path, LCM_FILE, sdxl_unet()),
    "sd3": functools.partial(_sd3, seed=1),
    "sd3-turbo": functools.partial(_sd3, seed=2),
    "flux-dev": functools.partial(_flux, guidance_embeds=True),
    "flux-schnell": functools.partial(_flux, guidance_embeds=False),
    "flux-deep": functools.partial(_flux, guidance_embeds=False, layers=2),
    "sd3-deep": functools.partial(_sd3, seed=3, layers=3),
    **flow_models.BUILDERS,
    **language_models.BUILDERS,
}
