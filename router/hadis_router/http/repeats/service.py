"""Requests that are alike, between the gateway and the dispatcher: each picture is made once.

    submit -> kept answer?            -> the answer ("cached")
           -> one alike under way?    -> follows it, and gets its answer ("coalesced")
           -> the dispatcher, as any job; those alike that come meanwhile follow it

A job follows only one whose deadline is not later than its own, so that it ends in time with it. A job that is followed
is made to its end although its own client goes away. Where it fails, those that follow are sent to the dispatcher
anew, the most urgent first and the others behind it, as long as their own deadlines let them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from hadis.api.cache import CacheSpec
from hadis.api.fields import parse_duration_s
from hadis.api.quantities import parse_quantity

from hadis_router.dispatch import refusals
from hadis_router.dispatch.answer import Answer, ServeError
from hadis_router.dispatch.dispatcher import Dispatcher
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.stages import TierReason
from hadis_router.http.repeats.cache import AnswerCache


@dataclass(eq=False)
class _Flight:
    """A job under way, and those that get its answer too."""

    leader: Job
    followers: list[Job] = field(default_factory=list)
    abandoned: bool = False
    """Whether the leader's own client is gone."""

    @property
    def awaited(self) -> bool:
        """Whether a follower waits for it."""
        return any(not job.done for job in self.followers)


class Repeats:
    """Submits jobs, but for those whose picture is there or under way; made inside a running loop."""

    def __init__(
        self, spec: CacheSpec | None, dispatcher: Dispatcher, most_followers: int, made_anew: Callable[[Job], None]
    ) -> None:
        """`spec` None: no two requests are alike. `made_anew` is told of a follower that is work of its own now."""
        self.spec, self._dispatcher = spec, dispatcher
        self._cache = AnswerCache(
            int(parse_quantity(spec.memory)) if spec else 0, parse_duration_s(spec.keep_for) if spec else 0.0
        )
        self._most_followers, self._made_anew = most_followers, made_anew
        self._by_key: dict[bytes, _Flight] = {}
        self._by_leader: dict[Job, _Flight] = {}
        self._followers = 0
        self.counts = self._cache.counts

    def has(self, key: bytes) -> bool:
        """Return whether the picture of a key is there or under way."""
        return self._cache.get(key) is not None or key in self._by_key

    @property
    def busy(self) -> bool:
        """Whether a job is under way that others may follow."""
        return bool(self._by_leader)

    def is_repeat(self, job: Job) -> bool:
        """Return whether a job, submitted now, would be no work of its own."""
        return self._source(job) is not None

    def submit(self, *jobs: Job) -> None:
        """Submit the jobs of one request; raise ServeError as the dispatcher does, and then answer none."""
        sources = {job: self._source(job) for job in jobs}
        if new := [job for job, source in sources.items() if source is None]:
            self._dispatcher.submit(*new)
        for job, source in sources.items():
            if isinstance(source, Answer):
                self._dispatcher.repeat(job, source, "cached")
            elif source is not None:
                self._follow(source, job)
            else:
                self._lead(job)

    def cancel(self, job: Job, error: ServeError | None = None) -> None:
        """Forget a job that nobody waits for, unless others follow it; `error` is what its client was told."""
        flight = self._by_leader.get(job)
        if flight is not None and not job.done and flight.awaited:
            flight.abandoned, job.partials, job.saved_first = True, None, False
            return
        self._dispatcher.cancel(job, error)
        leader = job.follows
        flight = self._by_leader.get(leader) if leader is not None else None
        if flight is not None and flight.abandoned and not flight.awaited:
            self._dispatcher.cancel(flight.leader)

    def _source(self, job: Job) -> Answer | _Flight | None:
        """Return where a job's picture comes from: it is there, it is under way, or (None) it is to be made."""
        if job.repeat_key is None:
            return None
        if (kept := self._cache.get(job.repeat_key)) is not None:
            return kept
        flight = self._by_key.get(job.repeat_key)
        if flight is None or flight.leader.done or flight.leader.deadline > job.deadline:
            return None
        return flight if self._followers < self._most_followers else None

    def _lead(self, job: Job) -> _Flight | None:
        """Let others follow a job that was submitted; return None for one that none may follow."""
        if job.repeat_key is None or job.done:
            return None
        flight = _Flight(job)
        self._by_key[job.repeat_key] = self._by_leader[job] = flight
        job.future.add_done_callback(partial(self._ended, flight, job.repeat_key))
        return flight

    def _follow(self, flight: _Flight, job: Job) -> None:
        flight.followers.append(job)
        self._followers += 1
        job.follow(flight.leader)

    def _ended(self, flight: _Flight, key: bytes, made: asyncio.Future[Answer]) -> None:
        """See to those who follow a job that has ended."""
        if self._by_key.get(key) is flight:
            del self._by_key[key]
        del self._by_leader[flight.leader]
        self._followers -= len(flight.followers)
        waiting = [job for job in flight.followers if not job.done]
        if made.cancelled() or made.exception() is not None:
            self._make_anew(waiting)
            return
        answer = made.result()
        # What was made of a lighter tier for want of time is not to be had for longer than that.
        if answer.path != "kept-light" and flight.leader.tier_reason is not TierReason.STEPPED_DOWN:
            self._cache.put(key, answer)
        for job in waiting:
            self._dispatcher.repeat(job, answer, "coalesced")

    def _make_anew(self, jobs: list[Job]) -> None:
        """Submit the most urgent of some jobs that is not refused; the others follow it."""
        jobs = sorted(jobs, key=lambda job: job.deadline)
        for i, job in enumerate(jobs):
            job.follows = None
            try:
                if asyncio.get_running_loop().time() >= job.deadline:
                    raise refusals.expired(self._dispatcher.slo_s)
                self._made_anew(job)
                self._dispatcher.submit(job)
            except ServeError as error:
                self._dispatcher.cancel(job, error)
                continue
            if (flight := self._lead(job)) is not None:
                for other in jobs[i + 1 :]:
                    self._follow(flight, other)
                return
