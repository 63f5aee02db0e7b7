"""Latents to colours without a VAE: by a linear map, close enough to see what an image will show.

The colour of a place in an image is nearly a linear function of the VAE's channels there and beside it. Which one, the
least squares say of some latents and what the VAE decodes them to. What a pipeline keeps is a linear function of those
channels, for it scales and packs them; the least squares say which, of its last latents and what it had decoded. So
nothing of this must be known of a pipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float32]
_ALIKE = 1.1
"""Times that the sides of latents may differ from the image's in their ratio: models round them."""


class Decoding(NamedTuple):
    """What a VAE was given, and the image (height, width, 3) in 0..1 that it made of it."""

    code: Array
    pixels: Array


class LatentSample(NamedTuple):
    """The last latents of an image, as the pipeline had them, and their decoding."""

    latents: Array
    decoding: Decoding


@dataclass(frozen=True)
class Colours:
    """The map of one model; each has a last row, which is what zeros become."""

    to_code: Array
    """(channels + 1, channels of the VAE)."""
    to_colour: Array
    """(9 x channels of the VAE + 1, 3): of a place and those around it."""

    def draw(self, latents: Array, width: int, height: int) -> Image.Image | None:
        """Return the image of a size (pixels) that an image's latents show; None where they are of another model."""
        grid = _as_grid(latents, width, height)
        if grid is None or grid.shape[2] != len(self.to_code) - 1 or not np.isfinite(grid).all():
            return None
        colours = _mapped(_with_neighbours(_mapped(grid, self.to_code)), self.to_colour).clip(0, 1) * 255
        return Image.fromarray(colours.round().astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)


def fit(samples: Sequence[LatentSample], others: Sequence[Decoding]) -> Colours | None:
    """Return the map that fits some images of a pipeline, and `others`; None where their latents have no places.

    Raises ValueError where they differ in their channels.
    """
    decoded = [
        (grid, pixels)
        for code, pixels in (*(decoding for _, decoding in samples), *others)
        if (grid := _grid_of(code, pixels)) is not None
    ]
    packed = [
        (grid, code)
        for latents, decoding in samples
        if (grid := _grid_of(latents, decoding.pixels)) is not None and (code := _grid_of(*decoding)) is not None
    ]
    if not packed:
        return None
    per_side = max(1, round(packed[0][1].shape[0] / packed[0][0].shape[0]))  # places of the VAE in one of the pipeline
    codes = [(_shrunk(code, code.shape[0] // per_side, code.shape[1] // per_side), pixels) for code, pixels in decoded]
    around = [(_with_neighbours(code), _shrunk(pixels, *code.shape[:2])) for code, pixels in codes]
    to_code = _least_squares([(grid, _shrunk(code, *grid.shape[:2])) for grid, code in packed])
    return Colours(to_code, _least_squares(around))


def _least_squares(pairs: Sequence[tuple[Array, Array]]) -> Array:
    """Return the map from one to the other of pairs (rows, columns, channels)."""
    inputs = np.concatenate([one.reshape(-1, one.shape[2]) for one, _ in pairs])
    outputs = np.concatenate([other.reshape(-1, other.shape[2]) for _, other in pairs])
    ones = np.ones((len(inputs), 1), np.float32)
    weights: Array = np.linalg.lstsq(np.hstack([inputs, ones]), outputs, rcond=None)[0].astype(np.float32)
    return weights


def _mapped(grid: Array, weights: Array) -> Array:
    mapped: Array = grid @ weights[:-1] + weights[-1]
    return mapped


def _with_neighbours(grid: Array) -> Array:
    """Return each place with the channels of the 3 x 3 around it."""
    rows, columns = grid.shape[:2]
    padded = np.pad(grid, ((1, 1), (1, 1), (0, 0)), mode="edge")
    return np.concatenate([padded[y : y + rows, x : x + columns] for y in range(3) for x in range(3)], axis=2)


def _grid_of(latents: Array, pixels: Array) -> Array | None:
    grid = _as_grid(latents, pixels.shape[1], pixels.shape[0])
    return grid if grid is not None and np.isfinite(grid).all() and np.isfinite(pixels).all() else None


def _as_grid(latents: Array, width: int, height: int) -> Array | None:
    """Return an image's latents as (rows, columns, channels); None where they are not laid out as the image is.

    They are (channels, rows, columns), with one frame more in VAEs of videos, or a row of tokens (tokens, channels).
    """
    if latents.ndim == 4 and latents.shape[1] == 1:
        latents = latents[:, 0]
    if latents.ndim == 3:
        grid = np.moveaxis(latents, 0, 2)
    elif latents.ndim == 2:
        rows = max(1, round((len(latents) * height / width) ** 0.5))
        if len(latents) % rows:
            return None
        grid = latents.reshape(rows, len(latents) // rows, -1)
    else:
        return None
    ratio = grid.shape[1] * height / (grid.shape[0] * width)
    return grid if 1 / _ALIKE < ratio < _ALIKE else None


def _shrunk(values: Array, rows: int, columns: int) -> Array:
    """Return the means of values (height, width, channels) over fewer places."""
    channels = [Image.fromarray(np.ascontiguousarray(values[..., i])) for i in range(values.shape[2])]
    small = [np.asarray(channel.resize((columns, rows), Image.Resampling.BOX), np.float32) for channel in channels]
    return np.stack(small, axis=2)
