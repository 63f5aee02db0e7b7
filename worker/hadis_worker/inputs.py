"""The images that an image is made from: what a client sent, checked, decoded, and fitted to the image's size.

A bad one is its job's fault alone, found before its batch begins. Formats are told by their first bytes, and pixels are
counted from the header, before any is decoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

from hadis.protocol.worker import MOST_PIXELS, WireEdit
from PIL import Image, ImageOps

_OPAQUE_FROM = 1
"""Alpha from which on a pixel stays: only fully transparent ones are made anew, as in OpenAI's API."""

_LEAST_SIDE, _MOST_RATIO = 64, 8
"""Of further images: FLUX.2 refuses others."""


class InputError(ValueError):
    """An input that cannot be used; the message names it and is for the client."""


@dataclass(frozen=True)
class EditInput:
    """What one image is made from."""

    images: tuple[Image.Image, ...]
    """RGB. The first one has the image's size, others at most as many pixels as it."""
    mask: Image.Image | None
    """Of the image's size: 255 where it is made anew, 0 where it stays; None: all of it may change."""


def read_input(edit: WireEdit, parts: tuple[bytes, ...], width: int, height: int) -> EditInput:
    """Return what an edit's image of a size (pixels) is made from; raise InputError."""
    first = _open(parts[edit.images[0]], "image")
    mask = _transparent(first) if edit.mask is None else _mask(_open(parts[edit.mask], "mask"), first)
    fitted = ImageOps.fit(_rgb(first), (width, height), Image.Resampling.LANCZOS)
    # One after the other: each may take 200 MB before it is made small.
    others = [_within(_rgb(_open(parts[number], "image")), width, height) for number in edit.images[1:]]
    return EditInput(
        (fitted, *others),
        None if mask is None else ImageOps.fit(mask, (width, height), Image.Resampling.NEAREST),
    )


def _open(data: bytes, name: str) -> Image.Image:
    """Return a decoded image, as its EXIF data say that it is held."""
    try:
        image = Image.open(BytesIO(data), formats=("PNG", "JPEG", "WEBP"))
    except Image.DecompressionBombError:
        raise InputError(_too_large(name)) from None
    except Exception:  # Pillow raises much else than it documents
        raise InputError(f"{name}: is no PNG, JPEG or WebP image") from None
    if image.width * image.height > MOST_PIXELS:
        raise InputError(_too_large(name))
    try:
        image.load()
        return ImageOps.exif_transpose(image)
    except Exception:
        raise InputError(f"{name}: its file is damaged") from None


def _too_large(name: str) -> str:
    return f"{name}: has more than {MOST_PIXELS // 1_000_000} million pixels; send a smaller one"


def _has_alpha(image: Image.Image) -> bool:
    return "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info


def _transparent(image: Image.Image) -> Image.Image | None:
    """Return where an image is fully transparent (255); None where it is nowhere."""
    if not _has_alpha(image):
        return None
    mask = image.convert("RGBA").getchannel("A").point([255] * _OPAQUE_FROM + [0] * (256 - _OPAQUE_FROM))
    return mask if mask.getbbox() else None


def _mask(image: Image.Image, first: Image.Image) -> Image.Image:
    if image.size != first.size:
        raise InputError(
            f"mask: is {image.width}x{image.height}, but the image is {first.width}x{first.height}; make them alike"
        )
    mask = _transparent(image)
    if mask is None:
        raise InputError("mask: has no transparent pixels; make transparent what is to be made anew")
    return mask


def _rgb(image: Image.Image) -> Image.Image:
    if not _has_alpha(image):
        return image.convert("RGB")
    seen = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")


def _within(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return an image of at most as many pixels, with its own ratio of sides."""
    scale = min(1.0, (width * height / (image.width * image.height)) ** 0.5)
    size = round(image.width * scale), round(image.height * scale)
    if min(size) < _LEAST_SIDE or max(size) > _MOST_RATIO * min(size):
        raise InputError(
            f"image: is {image.width}x{image.height}; of several, each must have sides of at least {_LEAST_SIDE} "
            f"pixels, and none {_MOST_RATIO} times as long as the other"
        )
    return image.resize(size, Image.Resampling.LANCZOS)
