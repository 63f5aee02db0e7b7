"""Input images as clients send them: in the body, encoded; looked at by their headers alone.

What a header cannot say (a damaged file, a mask without transparent pixels) the worker finds, before its batch.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import imagesize
from hadis.api.edits import MOST_EDIT_IMAGES
from hadis.protocol.worker import MOST_PIXELS

from hadis_router.dispatch.edit import EditInputs
from hadis_router.http.request_body import invalid

_MOST_READS = 10_000
"""Of one header: four for each part of it, of which files have some hundred at most. They take some 10 ms."""
_EXIF_BYTES = 256 * 1024
"""From a file's beginning, where EXIF data stand; each 64 KiB that may be such take some milliseconds."""


def edit_inputs(images: Sequence[bytes], mask: bytes | None, strength: float | None) -> EditInputs:
    """Return what an edit is made from; raise ServeError 400 for what is no image, too many or too large."""
    if not images:
        raise invalid("image", "is missing; send a PNG, JPEG or WebP file")
    if len(images) > MOST_EDIT_IMAGES:
        raise invalid("image", f"there are {len(images)}; send at most {MOST_EDIT_IMAGES}")
    sizes = [_size(image, "image") for image in images]
    if mask is not None and (of_mask := _size(mask, "mask")) != sizes[0]:
        is_, image = (f"{width}x{height}" for width, height in (of_mask, sizes[0]))
        raise invalid("mask", f"is {is_}, but the image is {image}; make them alike")
    return EditInputs(tuple(images), mask, strength, sizes[0])


def _size(data: bytes, field: str) -> tuple[int, int]:
    """Return width and height (pixels) of an encoded image, as its EXIF data say that it is held."""
    if not is_image(data):
        raise invalid(field, "is no PNG, JPEG or WebP image")
    try:
        width, height = imagesize.get(_Header(data))
    except Exception:  # it raises whatever its reading of a broken header comes to
        width = height = 0
    if width < 1 or height < 1:
        raise invalid(field, "its file is damaged")
    if width * height > MOST_PIXELS:
        raise invalid(field, f"has more than {MOST_PIXELS // 1_000_000} million pixels; send a smaller one")
    return width, height


class _Header(BytesIO):
    """A file whose header may be large, but not of as many parts as fit into it: each is read by Python."""

    _reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Return bytes; raise ValueError for a header without end."""
        self._reads += 1
        if self._reads > _MOST_READS:
            raise ValueError
        if size is not None and size > 64 and self.tell() > _EXIF_BYTES:
            return b""
        return super().read(size)


def is_image(data: bytes) -> bool:
    """Return whether a file begins as one of a format that is taken."""
    return data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def embedded(reference: Any, field: str) -> bytes:
    """Return the image that a JSON body holds: base64, a data: URL, or OpenAI's object with one; raise ServeError 400.

    Nothing is fetched, whatever the body says.
    """
    if isinstance(reference, dict):
        if reference.get("file_id") is not None:  # some clients send null for what they do not set
            raise invalid(field, "file_id: there are no stored files here; write image_url with a data: URL")
        field, reference = f"{field}.image_url", reference.get("image_url")
        if isinstance(reference, dict):  # as chat messages have it
            reference = reference.get("url")
    if not isinstance(reference, str):
        raise invalid(field, "write the image as a data: URL, or as base64")
    head, comma, data = reference.partition(",")
    kind = head.strip().lower()
    if comma and (not kind.startswith("data:") or not kind.endswith(";base64")):
        raise invalid(field, "is no data: URL in base64, such as data:image/png;base64,iVBORw0K...")
    if not comma and "://" in reference[:16]:
        raise invalid(field, "is at another address, from which nothing is fetched; send the image as a data: URL")
    try:
        # Many an encoder breaks its lines.
        return base64.b64decode((data if comma else head).encode("ascii").translate(None, b" \t\r\n"), validate=True)
    except (binascii.Error, ValueError):
        raise invalid(field, "is no base64") from None
