"""Jobs of clients: created, looked up and cancelled at any router; each runs at one (`runs.py`).

    create -> admission, as for any request -> images -> result in the store -> webhook
                                   cancelled, by any router ->

A job of a shared store whose router died is run again by another one: its images are made at least once, and its
webhook is told at least once, with the same id. Its deadline stays that of its creation.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from hadis_router.dispatch.answer import ServeError
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.peers import ANY_ROUTER
from hadis_router.http.access import Visitor
from hadis_router.http.edit_request import EditRequest
from hadis_router.http.gateway import Gateway
from hadis_router.http.image_bodies import HeldBody, ImageBodies
from hadis_router.http.jobs.idempotency import idempotency_of
from hadis_router.http.jobs.inputs import packed, unpacked
from hadis_router.http.jobs.record import JobRecord, JobRequest, new_id
from hadis_router.http.jobs.runs import JobRuns
from hadis_router.http.jobs.settings import JobSettings
from hadis_router.http.jobs.store import JobStore, MemoryJobs
from hadis_router.http.jobs.webhook import WebhookSender
from hadis_router.http.links.service import ImageLinks

log = logging.getLogger(__name__)

HOLD_EVERY_S = 2.0
_MOST_TAKEN_OVER = 16
"""In one go; the next go is soon."""
_CANCEL_S = 5.0


class Jobs:
    """Creates, follows and cancels jobs; made inside a running loop."""

    def __init__(
        self,
        gateway: Gateway,
        links: ImageLinks,
        settings: JobSettings,
        bodies: ImageBodies,
        store: JobStore | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`store` is as the settings say if left out; `clock` gives Unix time, which outlives a router."""
        self._gateway, self._links, self._settings, self._clock = gateway, links, settings, clock
        self._bodies = bodies
        self._store = store or _store_of(settings, clock)
        self._webhooks = WebhookSender(settings, clock)
        self._tag = ANY_ROUTER if self._store.shared else gateway.peers.own_tag
        self._runs = JobRuns(gateway, links, self._store, self._webhooks)
        self.counts, self.webhooks = self._store.counts, self._webhooks.counts

    async def create(
        self,
        request: JobRequest,
        client: str,
        base_url: str,
        arrived: float,
        key: str | None,
        *,
        batch: bool = False,
        retry: bool = False,
        held: HeldBody | None = None,
    ) -> JobRecord:
        """Return a new job, admitted and kept, or the one that the client used the idempotency key for.

        `arrived` is loop time; `batch` its priority class; `retry` says that it was refused before, and is no new
        demand; `held` is taken over from the request. Raises ServeError for what is refused.
        """
        if request.stream:
            raise ServeError(400, "invalid_value", "stream: a job is not streamed; leave it out", param="stream")
        if request.webhook is not None:
            self._webhooks.check(request.webhook)
        now = self._clock()
        record = JobRecord(
            id=new_id(self._tag),
            kind=request.kind,
            request=request,
            client=client,
            batch=batch,
            base_url=base_url,
            created_at=now,
            expires_at=now + self._settings.job_expires_s,
        )
        idempotency = await idempotency_of(client, key, request)
        inputs = await asyncio.to_thread(packed, request.edit) if request.edit and self._store.shared else b""
        if (known := await self._store.add(record, idempotency, inputs)) is not None:
            return known
        try:
            jobs = await self._admitted(record, arrived, retry=retry)
        except BaseException:
            await self._store.remove(record.id)
            raise
        self._runs.start(record, jobs, (held or HeldBody(self._bodies)).handed_over())
        return self._runs.seen(record)

    async def get(self, job_id: str, visitor: Visitor) -> JobRecord:
        """Return a job as it is now; raise ServeError 404 where there is none that the visitor may see."""
        record = await self._store.get(job_id)
        if record is None or not visitor.may_see(record.client):
            message = "there is no such job; jobs expire, and without a store they end with their router"
            raise ServeError(404, "job_not_found", message)
        return self._runs.seen(record)

    async def result(self, record: JobRecord) -> bytes | None:
        """Return the images body of a job that succeeded."""
        return await self._store.result(record.id) if record.status == "succeeded" else None

    async def cancel(self, job_id: str, visitor: Visitor) -> JobRecord:
        """Cancel a job, and return it as it is then; one that another router runs is cancelled within seconds.

        Raises ServeError 404 where there is none that the visitor may see.
        """
        await self.get(job_id, visitor)
        run = self._runs.get(job_id)
        if run is None:
            await self._store.ask_cancel(job_id)
        elif run.cancel():
            # Its webhook may be told for long; its end is in the store at once.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(run.kept.wait(), _CANCEL_S)
        return await self.get(job_id, visitor)

    async def keep(self) -> None:
        """Hold the jobs of this router, and take over those of routers that died, for ever."""
        while True:
            try:
                await self._hold()
            except ServeError as error:
                log.warning("%s", error)
            except Exception:
                log.exception("jobs could not be held; trying again in %g s", HOLD_EVERY_S)
            await asyncio.sleep(HOLD_EVERY_S)

    async def stop(self) -> None:
        """End what runs: jobs of a shared store are taken over by another router."""
        await self._runs.stop()
        await self._webhooks.close()
        await self._store.close()

    async def _hold(self) -> None:
        if not self._store.shared:
            return
        for job_id in await self._store.hold(self._runs.ids):
            if (run := self._runs.get(job_id)) is not None:
                run.cancel()
        await self._runs.save_progress()
        if self._gateway.peers.owns_any and not self._gateway.draining and self._gateway.why_not_ready() is None:
            for record in await self._store.take_over(_MOST_TAKEN_OVER):
                await self._run_again(record)

    async def _run_again(self, record: JobRecord) -> None:
        jobs, held = list[Job](), HeldBody(self._bodies)
        if not record.ended:
            age_s = self._clock() - record.created_at
            try:
                record = await self._with_inputs(record, held)
                jobs = await self._admitted(record, asyncio.get_running_loop().time() - age_s, retry=True)
            except ServeError as error:
                held.release()
                if error.status in (429, 503):  # a later go, or another router, may have room
                    await self._store.let_go(record.id)
                    return
                record = await self._runs.end(record, error)
        self._runs.start(record, jobs, held)

    async def _with_inputs(self, record: JobRecord, held: HeldBody) -> JobRecord:
        """Return the record with the input images that the store keeps, which are held from now on."""
        if not isinstance(record.request, EditRequest):
            return record
        inputs = await self._store.inputs(record.id)
        try:
            edit = await asyncio.to_thread(unpacked, inputs)
        except (ValueError, KeyError):
            raise ServeError(500, "internal_error", "the input images of the job are gone") from None
        held.take(len(inputs))
        return record.model_copy(update={"request": record.request.with_edit(edit)})

    async def _admitted(self, record: JobRecord, arrived: float, *, retry: bool) -> list[Job]:
        request, batch = record.request, record.batch
        jobs = await self._gateway.jobs(request, record.client, arrived, record.id, batch=batch, retry=retry)
        self._gateway.submit(jobs)
        return jobs


def _store_of(settings: JobSettings, clock: Callable[[], float]) -> JobStore:
    if settings.redis_url is None:
        return MemoryJobs(settings.job_count, settings.job_bytes, clock)
    from hadis_router.http.jobs.redis_store import RedisJobs  # its client is large; memory needs none

    url, bounds = settings.redis_url.get_secret_value(), (settings.job_count, settings.job_input_bytes)
    return RedisJobs(url, settings.redis_prefix, *bounds, clock)
