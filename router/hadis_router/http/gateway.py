"""The gateway between HTTP and the dispatcher: a request's jobs are counted, submitted, and awaited together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator

from hadis.api.fields import parse_duration_s
from hadis.api.resources import ServiceSpec
from hadis.planning.consumption import money_per_hour
from hadis.planning.fleet import is_shared
from hadis.planning.pareto import Front
from hadis.planning.profile import Profile
from hadis.planning.sizes import AUTO
from hadis.protocol.run_state import RunState
from starlette.requests import ClientDisconnect

from hadis_router.dispatch import refusals
from hadis_router.dispatch.answer import Answer, ServeError
from hadis_router.dispatch.dispatcher import Dispatcher
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.peers import Peers
from hadis_router.dispatch.stats import EndedJob
from hadis_router.http.access import AccessControl
from hadis_router.http.client_use import ClientBuckets
from hadis_router.http.images import GenerateRequest
from hadis_router.http.job_maker import JobMaker
from hadis_router.http.metrics import RouterMetrics
from hadis_router.http.models import ModelNames
from hadis_router.http.peer_client import PeerClient
from hadis_router.http.prompt_sample import PromptSample
from hadis_router.http.quality_watch import QualityWatch
from hadis_router.http.refusal_pace import RefusalPace
from hadis_router.http.repeats.service import Repeats
from hadis_router.http.retries import Retries
from hadis_router.http.scorers import PromptScorer, Scorers
from hadis_router.http.under_way import RequestsUnderWay

log = logging.getLogger(__name__)


class Gateway:
    """What the HTTP handlers share; made at start, kept in `app.state`."""

    def __init__(
        self,
        profile: Profile,
        spec: ServiceSpec,
        dispatcher: Dispatcher,
        scorer: PromptScorer,
        metrics: RouterMetrics,
        max_body_bytes: int,
        stopping: Callable[[], bool],
        peers: Peers,
        access: AccessControl,
        watch: QualityWatch,
        secret: str | None = None,
    ) -> None:
        """Keep the parts; `stopping` says whether the server was told to end. Made inside a running loop."""
        self.profile, self.dispatcher, self.metrics = profile, dispatcher, metrics
        self.scorers = Scorers(scorer, profile.resource.spec.difficulty)
        self.slo_s, self.attainment = parse_duration_s(spec.objective.latency), spec.objective.attainment
        self.max_body_bytes, self.stopping = max_body_bytes, stopping
        self.strict, self.models = spec.api.strict, ModelNames(profile.tiers, spec.api)
        self.front = Front(profile, spec.objective, shared=is_shared(spec, profile))
        self._spec = spec
        self.peers = peers
        self.peer_client = PeerClient(max(self.slo_s, dispatcher.first_worker.hold_s or 0.0), secret)
        self.watch, self.prompts = watch, PromptSample(None)
        self.access, self.use = access, ClientBuckets(access.limits_of)
        self.retries, self.refusal_pace = Retries(), RefusalPace()
        self.reading = _Reading(self.refused)
        """Entered to read a request."""
        self.repeats = Repeats(
            spec.cache, dispatcher, spec.queue.limit, lambda job: metrics.arrived(1, job.params.size or AUTO)
        )
        self.job_maker = JobMaker(dispatcher, self.models, self.scorers, self.repeats, metrics)
        self.state = RunState(plan=None, workers=())
        self.draining = False
        self.under_way = RequestsUnderWay()

    @property
    def money_per_hour(self) -> float | None:
        """Money per hour of the GPUs of the workers that are ready; None without a price."""
        local = sum(not self.profile.slots.keys() >= set(worker.tiers) for worker in self.dispatcher.workers)
        return money_per_hour(self._spec, local * self._spec.worker.gpus_per_worker)

    def take_state(self, state: RunState) -> None:
        """Follow what the source of plans and workers says."""
        try:
            self.dispatcher.estimates.start_from(state.ratios_for(self.profile.hash))
        except ValueError as error:
            if state.profile_hash != self.state.profile_hash:
                log.warning("what was learnt before is left out: %s", error)
        self.state, self.dispatcher.first_worker.start_s = state, state.start_s
        self.dispatcher.lanes.set_canary(self.scorers.follow(state.canary))
        self.peers.update(state.routers, state.workers, asyncio.get_running_loop().time())
        self._follow_peers()

    def worker_urls(self) -> list[str]:
        """Return the addresses of all workers that are ready."""
        return [worker.url for worker in self.state.workers]

    def owns_all(self) -> bool:
        """Return whether this router owns every queue now."""
        if self.peers.reconsider(asyncio.get_running_loop().time()):
            self._follow_peers()
        return self.peers.owns_all

    def next_owner(self) -> str | None:
        """Return the URL of the router to forward the next request to; None where this one serves it."""
        return None if self.owns_all() else self.peers.next_owner()

    def suspect(self, owner: str) -> None:
        """Pass over a router that did not answer, for a while; what waits for it goes elsewhere, too."""
        self.peers.suspect(owner, asyncio.get_running_loop().time())
        self.peer_client.give_up(owner)
        self._follow_peers()

    def _follow_peers(self) -> None:
        self.peers.follow(self.dispatcher, self.state.plan)

    def why_not_ready(self) -> str | None:
        """Return why requests cannot be served now, or None."""
        if self.draining:
            return "stopping"
        if self.state.idle:  # requests are held until a worker has started
            return None
        if self.dispatcher.plan is None:
            return "no plan yet"
        return None if len(self.dispatcher.workers) else "no worker is ready"

    def refused(self, error: ServeError, count: int) -> None:
        """Count images of a request that was answered with an error before it had jobs."""
        self.metrics.refused(error, count)
        now = asyncio.get_running_loop().time()
        self.dispatcher.recent.add(EndedJob(now, error.outcome, error.code, 0.0, in_time=False), count)

    async def jobs(
        self,
        request: GenerateRequest,
        client: str,
        arrived: float,
        request_id: str,
        *,
        batch: bool = False,
        retry: bool = False,
    ) -> list[Job]:
        """Return the jobs of a client's request, to be submitted at once; raise ServeError for what cannot be made.

        `arrived` is loop time. They are counted as demand, unless the request is a `retry` or their pictures are there.
        """
        new = request.n
        try:
            jobs = await self.job_maker.jobs(request, client, arrived, request_id, batch=batch)
            new = sum(not self.repeats.is_repeat(job) for job in jobs)
        except ServeError as error:
            self.refused(error, request.n)
            raise
        finally:
            if not retry:
                self.metrics.arrived(new, request.size)
        if not retry and request.edit is None:
            self.prompts.take(request.prompt)
        return jobs

    @contextlib.contextmanager
    def delivering(self, jobs: list[Job]) -> Iterator[None]:
        """Count images that are to be saved by whether they were: an answer that cannot be given is none."""
        lost: ServeError | None = None
        try:
            yield
        except ServeError as error:
            lost = None if error.code == refusals.client_gone().code else error
            raise
        except Exception:
            lost = ServeError(500, "internal_error", "the image was made, and lost")
            raise
        finally:
            for job in jobs:
                self.dispatcher.saved(job, lost)

    async def make(self, jobs: list[Job], disconnected: asyncio.Task[None]) -> list[Answer]:
        """Submit a request's jobs and return all answers, or none."""
        self.submit(jobs)
        return await self.answers(jobs, disconnected)

    def submit(self, jobs: list[Job]) -> None:
        """Submit a request's jobs; raise ServeError, and leave none, where one is refused."""
        try:
            self.use.take(jobs[0].client, [job.future for job in jobs])
            self.repeats.submit(*jobs)
        except ServeError as error:
            self.cancel(jobs, error)
            raise

    def cancel(self, jobs: list[Job], error: ServeError | None = None) -> None:
        """Forget a request's jobs, as far as they have not ended; `error` is what the client is told."""
        for job in jobs:
            self.repeats.cancel(job, error)

    async def answers(self, jobs: list[Job], disconnected: asyncio.Future[None]) -> list[Answer]:
        """Return all answers to admitted jobs, or none.

        The first job that fails, or a client that disconnects, cancels the others.
        """
        everything = asyncio.gather(*(job.future for job in jobs))
        # Its exception is retrieved also when nobody awaits it: asyncio would log it otherwise.
        everything.add_done_callback(lambda future: future.cancelled() or future.exception())
        try:
            await asyncio.wait((everything, disconnected), return_when=asyncio.FIRST_COMPLETED)
            if everything.done():
                return everything.result()
        except ServeError as error:
            self.cancel(jobs, error)
            raise
        finally:
            self.cancel(jobs)
        raise refusals.client_gone()


class _Reading:
    """Counts a request whose body is refused, or does not come whole, as one image: it has no jobs yet."""

    def __init__(self, refused: Callable[[ServeError, int], None]) -> None:
        self._refused = refused

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ClientDisconnect):
            self._refused(refusals.body_unfinished(), 1)
        elif isinstance(error, ServeError):
            self._refused(error, 1)
