"""A batch and its inputs come through whole; one that is cut or nonsense is a ValueError in words."""

from __future__ import annotations

import pytest
from hadis.protocol.batch_request import JSON, decode_batch, encode_batch
from hadis.protocol.parts import CONTENT_TYPE
from hadis.protocol.worker import GenerateBatch, WireEdit, WireJob
from hypothesis import given
from hypothesis import strategies as st

EDIT = WireEdit(images=(0,), mask=1, strength=0.5)
BATCH = GenerateBatch(tier="t", jobs=(WireJob(id="a", prompt="p", seed=1, edit=EDIT),))
INPUTS = (b"--hadis-part\r\n\r\n", b"")


def test_a_batch_without_inputs_is_json() -> None:
    content_type, pieces = encode_batch(BATCH)
    assert (content_type, decode_batch(content_type, b"".join(pieces))) == (JSON, BATCH)


def test_inputs_come_back_in_order_and_are_not_copied() -> None:
    content_type, pieces = encode_batch(BATCH.with_inputs(INPUTS))
    read = decode_batch(content_type, b"".join(pieces))
    assert (read.jobs, read.inputs) == (BATCH.jobs, INPUTS)
    assert all(any(piece is data for piece in pieces) for data in INPUTS)


@given(st.integers(0, 500))
def test_a_cut_body_is_a_value_error(cut: int) -> None:
    content_type, pieces = encode_batch(BATCH.with_inputs(INPUTS))
    body = b"".join(pieces)
    with pytest.raises(ValueError, match="the body"):
        decode_batch(content_type, body[: min(cut, len(body) - 3)])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"--hadis-part\r\nContent-Type\r\n\r\n", "parts cannot be read"),
        (b"--hadis-part\r\nContent-Type: a\r\nContent-Length: -1\r\n\r\nxx\r\n", "cut off"),
        (b"--hadis-part\r\nContent-Type: a\r\nContent-Length: 1\r\n\r\nxxxx\r\n", "longer than it says"),
        (b"--hadis-part\r\nContent-Type: a\r\nContent-Length: 1\r\n\r\n{\r\n--hadis-part--", "no JSON"),
    ],
)
def test_nonsense_is_a_value_error(body: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_batch(CONTENT_TYPE, body)
