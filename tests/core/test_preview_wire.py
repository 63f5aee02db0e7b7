"""Previews on the wire: how many each job has, and the parts that they come in, between those of the progress."""

import itertools

import pytest
from hadis.protocol.previews import HEADER, Preview, encode_preview, preview_headers, read_counts
from hadis.protocol.worker import (
    AnswerReader,
    GenerateBatch,
    JobResult,
    Progress,
    WireJob,
    encode_answer,
    encode_progress,
)
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(("counts", "headers"), [((0, 0), {}), ((0, 3, 1), {HEADER: "0,3,1"})])
def test_only_batches_with_previews_have_a_header(counts: tuple[int, ...], headers: dict[str, str]) -> None:
    assert preview_headers(counts) == headers
    assert read_counts(headers.get(HEADER), len(counts)) == counts


@pytest.mark.parametrize("header", ["", "1", "1,2,3", "0,4", "0,-1", "0,x", "1 2"])
def test_another_header_is_refused(header: str) -> None:
    with pytest.raises(ValueError, match="write a number from 0 to 3 for each of the 2 jobs"):
        read_counts(header, 2)


def test_a_batch_knows_the_previews_of_its_jobs_and_does_not_write_them() -> None:
    batch = GenerateBatch(tier="t", jobs=tuple(WireJob(id=name, prompt="p", seed=0) for name in "abc"))
    assert batch.previews == {}
    shown = batch.with_inputs((b"x",)).with_previews((2, 0, 1))
    assert (shown.previews, shown.inputs) == ({"a": 2, "c": 1}, (b"x",))
    assert shown.model_dump_json() == batch.model_dump_json(), "an older worker would refuse a field"


@given(st.lists(st.integers(1, 500), max_size=8))
def test_previews_are_read_as_they_come_wherever_the_bytes_are_cut(cuts: list[int]) -> None:
    sent: list[Progress | Preview] = [Progress(done=1, steps=3)]
    sent += [Preview(1, "64x32", b"\r\n--hadis-part"), Preview(0, "8x8", b"")]
    parts = [encode_preview("image/webp", one) if isinstance(one, Preview) else encode_progress(one) for one in sent]
    answer = b"".join(parts) + encode_answer([JobResult(id="1")], [("webp", b"x" * 80)])
    reader, seen = AnswerReader(), []
    edges = sorted({0, *(min(cut, len(answer)) for cut in cuts), len(answer)})
    for begin, end in itertools.pairwise(edges):
        seen += reader.feed(answer[begin:end])
    assert seen == sent
    assert reader.results() == [(JobResult(id="1"), b"x" * 80)]
