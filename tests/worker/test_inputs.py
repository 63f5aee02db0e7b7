"""What an image is made from: told by its bytes, held upright, fitted to the size; what is wrong is said in words."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hadis.protocol.worker import WireEdit
from hadis_worker.inputs import EditInput, InputError, read_input
from PIL import Image


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def read(image: bytes, mask: bytes | None = None, size: tuple[int, int] = (8, 8)) -> EditInput:
    edit = WireEdit(images=(0,), mask=None if mask is None else 1)
    return read_input(edit, (image,) if mask is None else (image, mask), *size)


def halves(left: str, right: str, size: tuple[int, int] = (16, 8), mode: str = "RGB") -> Image.Image:
    image = Image.new(mode, size, right)
    image.paste(left, (0, 0, size[0] // 2, size[1]))
    return image


@pytest.mark.parametrize(("form", "options"), [("PNG", {}), ("JPEG", {"quality": 95}), ("WEBP", {"lossless": True})])
def test_an_image_is_cut_to_the_ratio_of_the_size_from_its_middle(form: str, options: dict[str, Any]) -> None:
    got = read(encoded(halves("red", "blue"), form, **options))
    [image] = got.images
    assert (image.size, image.mode, got.mask) == ((8, 8), "RGB", None)
    pixels = np.asarray(image, np.int16)
    assert pixels[4, 0, 0] > 200 > 100 > pixels[4, 7, 0], "both halves are there"


def test_it_is_held_as_its_exif_says() -> None:
    exif = Image.Exif()
    exif[274] = 6  # its top is at the right
    turned = halves("red", "blue").transpose(Image.Transpose.ROTATE_90)
    [image] = read(encoded(turned, "JPEG", exif=exif, quality=95), size=(16, 8)).images
    pixels = np.asarray(image, np.int16)
    assert pixels[4, 1, 0] > 200
    assert pixels[4, 14, 2] > 200


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "I;16", "LA", "RGBA"])
def test_every_kind_of_pixels_becomes_colours(mode: str) -> None:
    source = Image.new(mode, (8, 8)) if mode != "P" else halves("red", "blue").convert("P")
    if mode in ("LA", "RGBA"):
        source.putalpha(255)
    got = read(encoded(source, "JPEG" if mode == "CMYK" else "PNG"))
    assert (got.images[0].mode, got.mask) == ("RGB", None)


def test_what_is_fully_transparent_in_mask_or_image_is_made_anew_and_nothing_else() -> None:
    mask = halves("#00000000", "#000000ff", (8, 8), "RGBA")
    mask.putpixel((7, 7), (0, 0, 0, 1))
    plain = encoded(Image.new("RGB", (8, 8), "green"))
    for got in (read(plain, encoded(mask)), read(encoded(mask))):
        assert got.mask is not None
        assert np.array_equal(np.asarray(got.mask) == 255, np.arange(64).reshape(8, 8) % 8 < 4)
    assert read(encoded(Image.new("RGBA", (8, 8), "#ffffffff"))).mask is None


def _bomb() -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8000, 8000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


GOOD = encoded(Image.new("RGB", (8, 8)))


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (b"", None, "image: is no PNG, JPEG or WebP image"),
        (b"GIF89a" + b"\0" * 40, None, "image: is no PNG, JPEG or WebP image"),
        (encoded(halves("red", "blue"))[:60], None, "image: "),
        (encoded(halves("red", "blue"), "JPEG")[:-30], None, "image: its file is damaged"),
        (_bomb(), None, "image: has more than 50 million pixels; send a smaller one"),
        (GOOD, encoded(Image.new("RGBA", (9, 8))), "mask: is 9x8, but the image is 8x8; make them alike"),
        (GOOD, GOOD, "mask: has no transparent pixels; make transparent what is to be made anew"),
        (GOOD, b"no", "mask: is no PNG, JPEG or WebP image"),
    ],
)
def test_what_cannot_be_used_is_named(image: bytes, mask: bytes | None, message: str) -> None:
    with pytest.raises(InputError) as refused:
        read(image, mask)
    assert str(refused.value).startswith(message)


def test_further_images_keep_their_ratio_and_have_no_more_pixels() -> None:
    parts = tuple(encoded(Image.new("RGB", size)) for size in ((8, 8), (400, 100), (70, 80), (500, 50)))
    got = read_input(WireEdit(images=(0, 1, 2)), parts, 128, 128)
    assert [image.size for image in got.images] == [(128, 128), (256, 64), (70, 80)]
    for number, size in ((1, 64), (3, 512)):
        with pytest.raises(InputError, match="of several"):
            read_input(WireEdit(images=(0, number)), parts, size, size)
