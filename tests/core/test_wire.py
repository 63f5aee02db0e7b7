"""The answer of a worker comes through whole, and a cut one is noticed."""

import itertools

import pytest
from hadis.protocol.worker import AnswerReader, JobResult, Progress, decode_answer, encode_answer, encode_progress
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


@given(st.lists(st.integers(1, 400), max_size=8))
def test_progress_is_told_as_it_comes_wherever_the_bytes_are_cut(cuts: list[int]) -> None:
    reports = [Progress(done=done, steps=3) for done in range(3)]
    answer = b"".join(map(encode_progress, reports)) + encode_answer([JobResult(id="1")], [("png", b"x" * 80)])
    reader, seen = AnswerReader(), []
    edges = sorted({0, *(min(cut, len(answer)) for cut in cuts), len(answer)})
    for begin, end in itertools.pairwise(edges):
        seen += reader.feed(answer[begin:end])
        assert len(seen) == sum(end >= len(b"".join(map(encode_progress, reports[: i + 1]))) for i in range(3))
    assert seen == reports
    assert reader.results() == decode_answer(answer) == [(JobResult(id="1"), b"x" * 80)]
