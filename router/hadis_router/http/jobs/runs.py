"""Runs: each job of this router is a task that waits for its images, keeps the result, and tells its webhook."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from hadis_router.dispatch.answer import ServeError
from hadis_router.dispatch.job import Job
from hadis_router.http.edit_request import EditRequest
from hadis_router.http.errors import envelope
from hadis_router.http.gateway import Gateway
from hadis_router.http.image_answers import answer_body
from hadis_router.http.image_bodies import HeldBody
from hadis_router.http.jobs.progress import seen_now
from hadis_router.http.jobs.record import JobRecord
from hadis_router.http.jobs.store import JobStore
from hadis_router.http.jobs.webhook import WebhookSender
from hadis_router.http.links.service import ImageLinks, Link

log = logging.getLogger(__name__)


@dataclass(eq=False)
class JobRun:
    """A job, from its admission until its webhook was told."""

    record: JobRecord
    jobs: list[Job]
    held: HeldBody
    """Its input images."""
    cancelled: asyncio.Future[None]
    kept: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when its end is in the store."""
    task: asyncio.Task[None] = field(init=False)

    def cancel(self) -> bool:
        """Have it end without images; return False where it was cancelled before."""
        if self.cancelled.done():
            return False
        self.cancelled.set_result(None)
        return True

    def free(self) -> None:
        """Give back what its images were made with."""
        self.jobs = []
        self.held.release()


class JobRuns:
    """The jobs that this router runs, by id."""

    def __init__(self, gateway: Gateway, links: ImageLinks, store: JobStore, webhooks: WebhookSender) -> None:
        """Begin with none."""
        self._gateway, self._links, self._store, self._webhooks = gateway, links, store, webhooks
        self._runs: dict[str, JobRun] = {}

    def __len__(self) -> int:
        """Return how many run."""
        return len(self._runs)

    @property
    def ids(self) -> list[str]:
        """The ids of the jobs that run."""
        return list(self._runs)

    def get(self, job_id: str) -> JobRun | None:
        """Return a job's run, if it runs here."""
        return self._runs.get(job_id)

    def seen(self, record: JobRecord) -> JobRecord:
        """Return a record with how far it is, where this router runs it."""
        run = self._runs.get(record.id)
        return record if run is None or record.ended else seen_now(record, self._gateway, run.jobs)

    def start(self, record: JobRecord, jobs: list[Job], held: HeldBody) -> None:
        """Run a job whose jobs were admitted; `held` are its input images."""
        run = JobRun(record, jobs, held, asyncio.get_running_loop().create_future())
        self._runs[record.id] = run
        run.task = asyncio.ensure_future(self._run(run))

    async def save_progress(self) -> None:
        """Save how far jobs are, for those who ask another router."""
        for run in list(self._runs.values()):
            if (seen := self.seen(run.record)) != run.record and not run.record.ended:
                run.record = seen
                await self._store.save(seen)

    async def stop(self) -> None:
        """End all tasks."""
        runs = list(self._runs.values())
        for run in runs:
            run.task.cancel()
        await asyncio.gather(*(run.task for run in runs), return_exceptions=True)

    async def _run(self, run: JobRun) -> None:
        try:
            if not run.record.ended:
                run.record = await self._make(run)
            run.free()
            run.kept.set()
            if run.record.untold:
                await self._webhooks.notify(run.record)
                await self._store.save(run.record.model_copy(update={"untold": False}))
        except ServeError as error:
            log.warning("%s: %s", run.record.id, error)
        except Exception:
            log.exception("%s failed", run.record.id)
        finally:
            self._gateway.cancel(run.jobs)
            run.free()
            del self._runs[run.record.id]
            await self._store.let_go(run.record.id)

    async def _make(self, run: JobRun) -> JobRecord:
        """Return the record of a job that has ended, kept with its result; raise ServeError where it cannot be."""
        result, ended = None, self._ended(run.record, "succeeded").model_copy(update={"progress": 1.0})
        try:
            with self._gateway.delivering(run.jobs):
                result = await self._result(run)
                await self._store.save(ended, result)
        except ServeError as error:
            if result is not None:
                raise
            return await self.end(run.record, None if run.cancelled.done() else error)
        return ended

    async def _result(self, run: JobRun) -> bytes:
        """Return the images body of a job, whose links are kept."""
        request, links = run.record.request, list[Link]()
        answers = await self._gateway.answers(run.jobs, run.cancelled)
        if request.wants_links:
            images = [answer.image for answer in answers]
            links = await self._links.save(run.record.base_url, images, request.output_format)
        return await asyncio.to_thread(answer_body, request, answers, links)

    async def end(self, record: JobRecord, error: ServeError | None) -> JobRecord:
        """Return the record of a job that failed, or that was cancelled, kept."""
        ended = self._ended(record, "failed" if error else "cancelled")
        if error is not None:
            ended = ended.model_copy(update={"error": envelope(error)["error"]})
        await self._store.save(ended)
        return ended

    def _ended(self, record: JobRecord, status: str) -> JobRecord:
        request = record.request
        if isinstance(request, EditRequest):
            request = request.with_edit(None)
        untold = request.webhook is not None
        return record.model_copy(update={"request": request, "status": status, "position": None, "untold": untold})
