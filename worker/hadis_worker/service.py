"""The life of a worker: load, serve one batch at a time, drain. It sits between the HTTP routes and the engine."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hadis.protocol.worker import GenerateBatch, WorkerStatus, encode_answer, encode_progress, named_requests

from hadis_worker.batches import BatchEngine, Made
from hadis_worker.encode import encode_all, warm_up
from hadis_worker.errors import BatchCancelled, BusyError, EngineUnavailable, NotReadyError
from hadis_worker.gpu import Gpu, GpuReading
from hadis_worker.metrics import WorkerMetrics
from hadis_worker.previews.sending import preview_part
from hadis_worker.steps import Steps

log = logging.getLogger(__name__)
_PROGRESS_EVERY_S = 0.1
_MOST_ENCODING = 1
"""Batches that are encoded beside the one that runs; more would hold the memory of their images."""


@dataclass(frozen=True, slots=True)
class RunningBatch:
    """A batch that is made and then encoded, and its answer; that of a cancelled or impossible one is empty."""

    steps: Steps
    answer: asyncio.Future[bytes]
    batch: GenerateBatch

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the parts of the answer as they come: what is done and seen so far, not too often; then the rest."""
        sent = None
        while not self.answer.done():
            if (progress := self.steps.progress) != sent:
                yield encode_progress(progress)
                sent = progress
            for number, job in enumerate(self.batch.jobs if self.batch.previews else ()):
                if not self.answer.done() and (part := await preview_part(self.steps, number, job)):
                    yield part
            await asyncio.wait({self.answer}, timeout=_PROGRESS_EVERY_S)
        yield self.answer.result()

    def cancel(self) -> None:
        """Stop it at its next step, if it runs still; until then the worker is busy."""
        self.steps.cancel()


class WorkerService:
    """Owns the one thread that computes: loading and batches run there, so that the event loop stays free.

    Images are encoded in another one, beside the next batch.
    """

    def __init__(
        self, tiers: tuple[str, ...], load: Callable[[], BatchEngine], threads: int, on_failure: Callable[[], None]
    ) -> None:
        """Take the tiers' names, what loads them, and what to call when that fails."""
        self.tiers = tiers
        self.failure: Exception | None = None
        self._load = load
        self._threads = threads
        self._on_failure = on_failure
        self._engine: BatchEngine | None = None
        self._gpu: Gpu | None = None
        self._draining = False
        self._running: asyncio.Future[Made] | None = None
        self._answers: set[asyncio.Task[bytes]] = set()
        """Of the batch that runs, and of those that are encoded."""
        self._loading: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._pool = ThreadPoolExecutor(1, "hadis-compute")
        self._encoders = ThreadPoolExecutor(1, "hadis-answer")
        self.metrics = WorkerMetrics(self._read_gpu)

    def start(self) -> None:
        """Begin to load, in the background."""
        self._loading = asyncio.create_task(self._load_engine())

    async def _load_engine(self) -> None:
        started, loop = time.perf_counter(), asyncio.get_running_loop()
        try:
            engine = await loop.run_in_executor(self._pool, self._load)
            self._gpu = await loop.run_in_executor(self._pool, Gpu, engine.device)
            await loop.run_in_executor(self._encoders, warm_up)
        except Exception as error:  # whatever it is, this process is of no use
            log.error("loading failed: %s", " ".join(str(error).split()) or type(error).__name__)
            self.failure = error
            self._on_failure()
            return
        self._engine = engine
        self._watching = asyncio.create_task(engine.watch())
        log.info("ready with %s on %s (%.1f s)", ", ".join(self.tiers), engine.device, time.perf_counter() - started)

    @property
    def not_ready(self) -> str | None:
        """Why no batch is taken now; None when one would be."""
        if self._draining:
            return "the worker is draining"
        if self._engine is None:
            return "the worker is loading its models"
        return self.broken or self._engine.unavailable

    @property
    def broken(self) -> str | None:
        """Why the process must start again, if it must."""
        if self._engine is not None and self._engine.broken:
            return f"the GPU cannot be used any more: {self._engine.broken}"
        return f"loading failed: {self.failure}" if self.failure else None

    @property
    def busy(self) -> bool:
        """Whether a batch is running, or its images wait to be encoded."""
        return self._running is not None or len(self._answers) > _MOST_ENCODING

    def status(self) -> WorkerStatus:
        """Return what the router asks for."""
        reading = self._read_gpu()
        return WorkerStatus(
            tiers=self.tiers,
            abilities=self._engine.abilities if self._engine else {},
            ready=self.not_ready is None,
            busy=self.busy,
            draining=self._draining,
            device=self._gpu.name if self._gpu else "cpu",
            memory_bytes=reading.memory_bytes,
            utilization=reading.utilization,
        )

    def begin(
        self, batch: GenerateBatch, on_end: Callable[[Steps, str | None], None] = lambda steps, error: None
    ) -> RunningBatch:
        """Have the thread make a batch; raise NotReadyError, BusyError, and what `BatchEngine.check` raises.

        `on_end` gets its steps when it has ended, and why it has no results.
        """
        if self.not_ready is not None or self._engine is None:
            raise NotReadyError(self.not_ready)
        if self.busy:
            raise BusyError("a batch is running; a worker takes one at a time")
        tier = self._engine.check(batch)
        log.debug("tier %s: a batch of %d for %s", batch.tier, len(batch.jobs), batch.requests)
        steps = Steps(len(batch.jobs), batch.jobs[0].steps or tier.steps)
        self._running = asyncio.get_running_loop().run_in_executor(self._pool, self._make, self._engine, batch, steps)
        self._running.add_done_callback(self._made)
        answer = asyncio.create_task(self._answer(batch, self._running, steps))
        self._answers.add(answer)
        answer.add_done_callback(self._answered)
        answer.add_done_callback(lambda task: on_end(steps, _why_empty(task)))
        return RunningBatch(steps, answer, batch)

    def _made(self, _: asyncio.Future[Made]) -> None:
        self._running = None

    def _answered(self, answer: asyncio.Task[bytes]) -> None:
        self._answers.discard(answer)
        # Seen here, for the caller may be gone; one that is there sees it too.
        if not answer.cancelled() and answer.exception() is not None:
            log.error("a batch failed outside of the model", exc_info=answer.exception())

    async def _answer(self, batch: GenerateBatch, running: asyncio.Future[Made], steps: Steps) -> bytes:
        made = await running  # the drain's timeout bounds it, and what follows
        if not made:
            return b""
        return await asyncio.get_running_loop().run_in_executor(self._encoders, self._encode, batch, made, steps)

    def _make(self, engine: BatchEngine, batch: GenerateBatch, steps: Steps) -> Made:
        """Make a batch, of which nothing is left if it is cancelled; runs in the thread that computes."""
        short_before = engine.out_of_memory_total
        try:
            outcomes = engine.generate(batch, steps)
        except BatchCancelled:
            # Ends here, for its traceback keeps the tensors of the batch alive.
            self.metrics.cancelled.labels(batch.tier).inc()
            return []
        except EngineUnavailable as error:
            # An answer without results is a worker's failure to the router, which then has others make the jobs.
            text = "tier %s: a batch of %d was not made, for %s: %s"
            log.warning(text, batch.tier, len(batch.jobs), batch.requests, error)
            return []
        finally:
            self.metrics.out_of_memory.labels(batch.tier).inc(engine.out_of_memory_total - short_before)
        results = [result for result, _ in outcomes]
        self.metrics.service.labels(batch.tier, str(len(batch.jobs))).observe(results[0].service_s)
        self.metrics.batches.labels(batch.tier).inc()
        for result in results:
            if result.error is not None:
                name = named_requests(job.request_id for job in batch.jobs if job.id == result.id)
                log.warning("tier %s: no image for %s: %s", batch.tier, name, result.error)
            self.metrics.images.labels(batch.tier, result.error_code or "ok").inc()
        return outcomes

    def _encode(self, batch: GenerateBatch, made: Made, steps: Steps) -> bytes:
        """Return the answer to a batch; runs in the thread that encodes."""
        images = [
            (image, job.format, job.compression)
            for (_, image), job in zip(made, batch.jobs, strict=True)
            if image is not None
        ]
        with self.metrics.encoding.time(), steps.timed("encode"):
            bodies = encode_all(images, self._threads)
        results = [result for result, _ in made]
        return encode_answer(results, [(form, body) for (_, form, _), body in zip(images, bodies, strict=True)])

    async def drain(self, timeout_s: float) -> bool:
        """Take nothing new and wait for what runs and is encoded, at most `timeout_s`; return whether it ended."""
        self._draining = True
        if not self._answers:
            return True
        _, unfinished = await asyncio.wait(self._answers, timeout=timeout_s)
        return not unfinished

    def close(self) -> None:
        """Stop waiting for the models; the thread itself ends with the process."""
        for task in (self._loading, self._watching):
            if task is not None:
                task.cancel()
        for pool in (self._pool, self._encoders):
            pool.shutdown(wait=False, cancel_futures=True)

    def _read_gpu(self) -> GpuReading:
        return self._gpu.read() if self._gpu else GpuReading()


def _why_empty(answer: asyncio.Task[bytes]) -> str | None:
    """Return why an answer that has ended holds no results; None where it does."""
    if answer.cancelled():
        return "cancelled"
    if error := answer.exception():
        return type(error).__name__
    return None if answer.result() else "not made"
