"""Pipelines with random weights, which are drawn where they are used: nothing is read, and nothing is copied."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import diffusers
import torch
from accelerate import init_empty_weights

from bench_gpu.models import Family, Part, Text


def random_pipeline(family: Family, device: str, dtype: torch.dtype, **others: Any) -> Any:
    """Return a family's pipeline on a device; `others` are components beside its denoiser, VAE and scheduler."""
    kind = getattr(diffusers, family.pipeline)
    parameters = inspect.signature(kind.__init__).parameters.values()
    absent = [p.name for p in parameters if p.name != "self" and p.default is p.empty]
    made = {
        family.denoiser_name: random_module(family.denoiser, device, dtype),
        "vae": random_module(family.vae, device, dtype),
        "scheduler": getattr(diffusers, family.scheduler)(),
    }
    pipeline = kind(**{**dict.fromkeys(absent), **made, **others})
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def empty_module(part: Part, device: str) -> torch.nn.Module:
    """Return a module with all parameters on the meta device; rotary frequencies and the like are on `device`."""
    with torch.device(device), init_empty_weights(include_buffers=False):
        module: torch.nn.Module = getattr(diffusers, part.kind)(**part.config)
    return module


def random_module(part: Part, device: str, dtype: torch.dtype) -> torch.nn.Module:
    """Return a module on a device, the same each time.

    Weights keep the scale of what they multiply, so that values are finite, and the GPU's power is that of real ones.
    """
    module = empty_module(part, device)
    generator = torch.Generator(device).manual_seed(0)
    for owner in module.modules():
        for name, weight in list(owner.named_parameters(recurse=False)):
            drawn = torch.empty(weight.shape, dtype=dtype, device=device)
            if weight.dim() > 1:
                drawn.normal_(std=weight[0].numel() ** -0.5, generator=generator)
            else:
                drawn.fill_(0.0 if name == "bias" else 1.0)
            setattr(owner, name, torch.nn.Parameter(drawn, requires_grad=False))
    return module.eval()


def use_random_text(pipeline: Any, family: Family, device: str, dtype: torch.dtype) -> None:
    """Have a pipeline without text encoders take random values for what they would make of its prompts."""
    embeddings = _EMBEDDINGS[family.pipeline]

    def encode_prompt(prompt: str | list[str], **_: Any) -> tuple[Any, ...]:
        count = 1 if isinstance(prompt, str) else len(prompt)
        return embeddings(family.text, count, {"device": device, "dtype": dtype})

    pipeline.encode_prompt = encode_prompt


def _with_negatives(text: Text, count: int, options: Mapping[str, Any]) -> tuple[Any, ...]:
    embeddings = torch.randn(count, text.tokens, text.width, **options)
    pooled = torch.randn(count, text.pooled, **options)
    return embeddings, torch.randn_like(embeddings), pooled, torch.randn_like(pooled)


def _with_ids(text: Text, count: int, options: Mapping[str, Any]) -> tuple[Any, ...]:
    embeddings = torch.randn(count, text.tokens, text.width, **options)
    return embeddings, torch.randn(count, text.pooled, **options), torch.zeros(text.tokens, 3, **options)


def _listed(text: Text, count: int, options: Mapping[str, Any]) -> tuple[Any, ...]:
    one, other = ([torch.randn(text.tokens, text.width, **options) for _ in range(count)] for _ in range(2))
    return one, other


def _without_mask(text: Text, count: int, options: Mapping[str, Any]) -> tuple[Any, ...]:
    return torch.randn(count, text.tokens, text.width, **options), None


_EMBEDDINGS: Mapping[str, Callable[[Text, int, Mapping[str, Any]], tuple[Any, ...]]] = {
    "StableDiffusionXLPipeline": _with_negatives,
    "StableDiffusion3Pipeline": _with_negatives,
    "FluxPipeline": _with_ids,
    "ZImagePipeline": _listed,
    "QwenImagePipeline": _without_mask,
}
"""What `encode_prompt` of each pipeline returns."""
