"""Each format is what it says, and a jpeg or webp of more quality is of more bytes."""

from io import BytesIO
from typing import get_args

import numpy as np
import pytest
from hadis.protocol.worker import Format
from hadis_worker.encode import encode, encode_all, warm_up
from PIL import Image

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8))


@pytest.mark.parametrize("name", get_args(Format))
@pytest.mark.parametrize("compression", [0, 100])
def test_each_format_is_what_it_says(name: Format, compression: int) -> None:
    read = Image.open(BytesIO(encode(PICTURE, name, compression)))
    assert read.format == name.upper()
    assert read.size == PICTURE.size


def test_png_loses_nothing() -> None:
    assert np.array_equal(np.asarray(Image.open(BytesIO(encode(PICTURE, "png", 0)))), np.asarray(PICTURE))


@pytest.mark.parametrize("name", ["jpeg", "webp"])
def test_more_quality_is_more_bytes(name: Format) -> None:
    sizes = [len(encode(PICTURE, name, compression)) for compression in (0, 50, 95)]
    assert sizes == sorted(set(sizes))


def test_every_format_is_loaded_before_a_request_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []
    monkeypatch.setattr("hadis_worker.encode.encode", lambda image, name, compression: encoded.append(name))
    warm_up()
    assert encoded == list(get_args(Format))


@pytest.mark.parametrize("threads", [1, 4])
def test_images_come_in_order(threads: int) -> None:
    names: list[Format] = ["png", "jpeg", "webp", "png"]
    bodies = encode_all([(PICTURE, name, 80) for name in names], threads)
    assert [Image.open(BytesIO(body)).format for body in bodies] == [name.upper() for name in names]
