"""Where weights lie and in which order, and how much memory decoding takes."""

from __future__ import annotations

from typing import Any, Literal

import torch
from hadis.api.speed import Speed, Vae

from hadis_worker.errors import LoadError

_CONVOLUTIONAL = ("unet", "vae")


def set_channels_last(speed: Speed, pipeline: Any) -> None:
    """Put the weights of convolutions in the order that GPUs' kernels for them read; raise LoadError without any."""
    if not speed.channels_last:
        return
    parts = [part for name in _CONVOLUTIONAL if (part := getattr(pipeline, name, None)) is not None]
    parts = [part for part in parts if {weight.dim() for weight in part.parameters()} & {4, 5} == {4}]
    if not parts:
        raise LoadError("channelsLast: the model has no convolutions of images; leave it out")
    for part in parts:
        part.to(memory_format=torch.channels_last)


def save_vae_memory(vae: Vae, pipeline: Any) -> None:
    """Have images decoded one after the other, or in tiles; raise LoadError where the VAE cannot."""
    for field, enabled in (("slicing", vae.slicing), ("tiling", vae.tiling)):
        if not enabled:
            continue
        part = getattr(pipeline, "vae", None)
        if not hasattr(part, f"use_{field}"):
            raise LoadError(f"vae.{field}: {type(part).__name__ if part else 'the model'} has none; leave it out")
        getattr(part, f"enable_{field}")()


def offload(how: Literal["group", "model"], pipeline: Any, device: str) -> None:
    """Keep a pipeline in CPU memory, and move each component (model) or block (group) to its device when it runs."""
    if how == "model":
        if pipeline.model_cpu_offload_seq is None:
            raise LoadError(f"offload: {type(pipeline).__name__} does not say in which order its components run")
        pipeline.enable_model_cpu_offload(device=device)
        return
    # Streams, which copy the next block meanwhile, are CUDA's.
    streams = device == "cuda"
    pipeline.enable_group_offload(
        torch.device(device), offload_type="block_level", num_blocks_per_group=1, use_stream=streams
    )
