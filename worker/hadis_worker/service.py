"""One worker's life: loading, ready, one batch at a time, draining. It owns the thread that computes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from hadis.wire import GenerateBatch, WorkerStatus, encode_answer

from hadis_worker.encode import encode_all
from hadis_worker.engine import Engine
from hadis_worker.gpu import Gpu
from hadis_worker.metrics import Metrics

log = logging.getLogger(__name__)


class BusyError(Exception):
    """Another batch runs."""


class NotReadyError(Exception):
    """Models are still loading, or the worker takes nothing new."""


class Worker:
    """The engine behind one thread: torch computes there, so that health checks are answered meanwhile."""

    def __init__(self, load: Callable[[], Engine], gpu: Gpu, metrics: Metrics, threads: int) -> None:
        """`load` makes the engine; it is called by `start`, in the worker's thread."""
        self._load, self._gpu, self._metrics, self._threads = load, gpu, metrics, threads
        self._thread = ThreadPoolExecutor(1, "hadis-engine")
        self._engine: Engine | None = None
        self._batch: asyncio.Future[bytes] | None = None
        self.draining = False

    @property
    def ready(self) -> bool:
        """Whether batches are taken."""
        return self._engine is not None and not self._engine.broken and not self.draining

    @property
    def broken(self) -> str | None:
        """What only a new process can mend."""
        return self._engine.broken if self._engine else None

    @property
    def busy(self) -> bool:
        """Whether a batch runs."""
        return self._batch is not None and not self._batch.done()

    async def start(self) -> None:
        """Load and warm up; raise what the engine raises."""
        self._engine = await asyncio.get_running_loop().run_in_executor(self._thread, self._load)
        log.info("ready: %s on %s", ", ".join(self._engine.tiers), self._gpu.name)

    async def generate(self, batch: GenerateBatch) -> bytes:
        """Return the answer's body; raise NotReadyError, BusyError or what `Engine.check` raises.

        The batch goes on where the caller goes away: the GPU cannot be interrupted, and must not be shared.
        """
        if self._engine is None or not self.ready:
            raise NotReadyError("draining" if self.draining else self.broken or "models are loading")
        if self.busy:
            raise BusyError("a batch is running")
        self._engine.check(batch)
        self._batch = asyncio.get_running_loop().run_in_executor(self._thread, self._make, self._engine, batch)
        return await asyncio.shield(self._batch)

    def _make(self, engine: Engine, batch: GenerateBatch) -> bytes:
        results = engine.generate(batch)
        formats = {job.id: (job.format, job.compression) for job in batch.jobs}
        pictures = [(image, *formats[result.id]) for result, image in results if image is not None]
        encoded = encode_all(pictures, self._threads)
        self._metrics.made(batch.tier, [result for result, _ in results], engine.out_of_memory_total)
        body: bytes = encode_answer(
            [result for result, _ in results],
            [(name, content) for (_, name, _), content in zip(pictures, encoded, strict=True)],
        )
        return body

    async def drain(self, timeout_s: float) -> None:
        """Take nothing new and wait for the batch that runs, `timeout_s` seconds at most."""
        self.draining = True
        if self._batch is not None and self.busy:
            log.info("stopping after the batch that runs")
            await asyncio.wait((self._batch,), timeout=timeout_s)
        self._thread.shutdown(wait=False, cancel_futures=True)

    def status(self) -> WorkerStatus:
        """Return what `GET /status` says."""
        reading = self._gpu.read()
        return WorkerStatus(
            tiers=tuple(self._engine.tiers) if self._engine else (),
            ready=self.ready,
            busy=self.busy,
            draining=self.draining,
            device=self._gpu.name,
            memory_bytes=reading.memory_bytes,
            utilization=reading.utilization,
        )
