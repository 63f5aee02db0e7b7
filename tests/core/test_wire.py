"""The answer of a worker comes through whole, and a cut one is noticed."""

import pytest
from hadis.protocol.worker import JobResult, decode_answer, encode_answer
from hypothesis import given
from hypothesis import strategies as st


def test_results_and_images_come_back_in_order() -> None:
    results = [JobResult(id="1", confidence=0.5), JobResult(id="2", error="no memory"), JobResult(id="3")]
    answer = encode_answer(results, [("png", b"--hadis-part\r\n"), ("webp", b"")])
    assert decode_answer(answer) == [
        (results[0], b"--hadis-part\r\n"),
        (results[1], None),
        (results[2], b""),
    ]


@given(st.integers(0, 300))
def test_a_cut_answer_is_a_value_error(cut: int) -> None:
    answer = encode_answer([JobResult(id="1")], [("png", b"x" * 80)])
    with pytest.raises(ValueError, match="worker's answer"):
        decode_answer(answer[: min(cut, len(answer) - 4)])
