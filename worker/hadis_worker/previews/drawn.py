"""Drawn images of many colours through a VAE: those that a tier makes first may show a few colours alone."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from hadis_worker.previews.colours import Decoding
from hadis_worker.previews.watch import on_cpu

_IMAGES, _SHAPES = 8, 3
_LONGEST = 256
"""Pixels of a side; where the tier's images are smaller, their shorter one."""


def drawn_decodings(pipeline: Any, like: Decoding) -> list[Decoding]:
    """Return drawn images as a pipeline's VAE encodes and decodes them, `like` its own; raise what the VAE raises."""
    side, rng = min(_LONGEST, *like.pixels.shape[:2]), random.Random(0)
    with torch.inference_mode(), _in_full_precision(pipeline.vae):
        return [_decoding(pipeline, _drawn(rng, side), of_frames=like.code.ndim == 4) for _ in range(_IMAGES)]


def _drawn(rng: random.Random, side: int) -> Image.Image:
    def colour() -> tuple[int, ...]:
        pure = rng.random() < 0.5
        return tuple(rng.choice((13, 242)) if pure else rng.randrange(256) for _ in range(3))

    image = Image.new("RGB", (side, side), colour())
    for _ in range(_SHAPES):
        x, y, radius = rng.random() * side, rng.random() * side, rng.uniform(0.1, 0.25) * side
        pen = ImageDraw.Draw(image)
        draw = rng.choice((pen.ellipse, pen.rectangle))
        draw((x - radius, y - radius, x + radius, y + radius), fill=colour())
    return image


def _decoding(pipeline: Any, image: Image.Image, *, of_frames: bool) -> Decoding:
    vae = pipeline.vae
    pixels = torch.from_numpy(np.asarray(image, np.float32) / np.float32(127.5) - 1).movedim(2, 0)[None]
    pixels = pixels.to(pipeline._execution_device, vae.dtype)  # also of one that is offloaded
    output = vae.encode(pixels[:, :, None] if of_frames else pixels)
    code = next(getattr(output, name) for name in ("latent_dist", "latent", "latents") if hasattr(output, name))
    code = code.mode() if hasattr(output, "latent_dist") else code
    decoded = vae.decode(code, return_dict=False)[0]
    frame = decoded[0, :, 0] if of_frames else decoded[0]
    return Decoding(on_cpu(code[0]), on_cpu((frame.movedim(0, 2) / 2 + 0.5).clamp(0, 1)))


@contextlib.contextmanager
def _in_full_precision(vae: Any) -> Iterator[None]:
    """Have a VAE whose numbers leave the range of half precision compute in full, as pipelines do."""
    dtype = vae.dtype
    if dtype != torch.float16 or not getattr(vae.config, "force_upcast", False):
        yield
        return
    vae.to(dtype=torch.float32)
    try:
        yield
    finally:
        vae.to(dtype=dtype)
