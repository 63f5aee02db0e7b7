"""Previews in the answer of a worker: before its results, in the format of their job, and only for who has them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO

import httpx
import pytest
from hadis.protocol.previews import HEADER
from hadis.protocol.previews import Preview as WirePreview
from hadis.protocol.worker import AnswerReader, GenerateBatch, Progress, WireJob
from hadis_worker.painter import Call, Painted
from hadis_worker.steps import StepPreview
from PIL import Image
from test_app import Bench, HeldPainter

JOBS = [{"id": "a", "prompt": "p", "seed": 0}, {"id": "b", "prompt": "p", "seed": 1, "format": "jpeg"}]


class ShowingPainter(HeldPainter):
    """Shows a preview of each job that has some; that of the first one cannot be drawn where it `fails`."""

    fails = False

    def paint(self, call: Call) -> Painted:
        """Return grey pictures."""
        self.call = call
        for i, (job_id, most) in enumerate(call.previews):
            if most and call.counter:
                image = None if self.fails and i == 0 else Image.new("RGB", (8, 8), "red")
                call.counter.show(job_id, StepPreview(1, lambda image=image: image))  # type: ignore[misc]
        return super().paint(call)


@pytest.fixture
async def showing() -> AsyncIterator[tuple[Bench, ShowingPainter]]:
    """A worker that is ready."""
    bench = Bench()
    bench.painter = painter = ShowingPainter()
    bench.worker.start()
    await bench.ready()
    yield bench, painter
    painter.go.set()
    await bench.client.aclose()
    bench.worker.close()


@pytest.mark.parametrize("fails", [False, True])
async def test_previews_come_while_the_batch_runs(showing: tuple[Bench, ShowingPainter], fails: bool) -> None:
    bench, painter = showing
    painter.fails = fails
    jobs = tuple(WireJob.model_validate(job) for job in JOBS)
    running, reader = bench.worker.begin(GenerateBatch(tier="t", jobs=jobs).with_previews((1, 1))), AnswerReader()
    parts, shown = running.parts(), list[WirePreview]()
    async with asyncio.timeout(10):
        while len(shown) < 2 - fails:
            shown += [update for update in reader.feed(await anext(parts)) if isinstance(update, WirePreview)]
    assert not running.answer.done()
    painter.go.set()
    rest = [update async for part in parts for update in reader.feed(part)]
    assert all(isinstance(update, Progress) for update in rest), "each preview comes once"
    assert [result.error for result, _ in reader.results()] == [None, None]
    images = [(one.job, one.size, Image.open(BytesIO(one.image)).format) for one in shown]
    assert images == [(0, "8x8", "PNG"), (1, "8x8", "JPEG")][fails:]


@pytest.mark.parametrize(("header", "counts"), [("0,3", [("a", 0), ("b", 3)]), ("0,0", []), (None, [])])
async def test_the_header_says_which_jobs_have_previews(
    showing: tuple[Bench, ShowingPainter], header: str | None, counts: list[tuple[str, int]]
) -> None:
    bench, painter = showing
    painter.go.set()
    headers = {} if header is None else {HEADER: header}
    answer = await bench.client.post("/generate", json={"tier": "t", "jobs": JOBS}, headers=headers)
    assert (answer.status_code, list(painter.call.previews)) == (200, counts)
    assert list(painter.call.part(slice(1, 2)).previews) == counts[1:]


async def test_a_header_that_says_nothing_is_refused(showing: tuple[Bench, ShowingPainter]) -> None:
    answer: httpx.Response = await showing[0].client.post(
        "/generate", json={"tier": "t", "jobs": JOBS}, headers={HEADER: "1"}
    )
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(f"{HEADER}: write a number from 0 to 3 for each of the 2 jobs")
