"""The engine that computes nothing: an endpoint makes the images of a batch, all at once; it needs no torch.

A discriminator, where one must judge, runs on the CPU. No image is made at the start: it may cost money, and a profile
of the tier was measured through this engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from typing import Self

import httpx
from hadis.api.edits import Edits
from hadis.api.tier import Tier
from hadis.protocol import keep_alive
from hadis.protocol.worker import GenerateBatch, TierAbility, WireJob
from PIL import Image

from hadis_worker.batches import Fault, JobOutcome, Judge, Made, Picture, check_batch, result_of
from hadis_worker.breaker import Breaker
from hadis_worker.endpoint import Endpoint
from hadis_worker.errors import BatchError, EndpointRefuses, EngineUnavailable, LoadError
from hadis_worker.settings import Models
from hadis_worker.steps import Steps

log = logging.getLogger(__name__)
_CONNECT_S = 5.0
_POLL_S = 0.05
"""How soon a batch that nobody waits for any more is given up."""
_WATCH_EVERY_S = 2.0
_FAILURES = 3
"""Probes in a row after which an endpoint is away: one that is busy may answer late."""


class RemoteEngine:
    """The endpoints of some remote tiers."""

    def __init__(
        self,
        tiers: Sequence[Tier],
        keys: Mapping[str, str] | None = None,
        judge: Judge | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`keys` are API keys by tier; `transport` is HTTP where left out. Raises LoadError for a URL that is none."""
        self.device, self.out_of_memory_total = "cpu", 0
        self.broken: str | None = None
        self.unavailable: str | None = "the endpoint has not answered yet"
        self._tiers, self._keys, self._judge = {tier.name: tier for tier in tiers}, keys or {}, judge
        self._breakers = {tier.name: Breaker() for tier in tiers}
        self._transport, self._ssl = transport, httpx.create_ssl_context()
        self._http: httpx.AsyncClient | None = None
        """Of `generate`, whose connections are kept from batch to batch, and so its loop."""
        self._loop = asyncio.new_event_loop()
        weakref.finalize(self, self._loop.close)
        for tier in tiers:
            try:
                httpx.URL(tier.remote.url if tier.remote else "")
            except httpx.InvalidURL as error:
                raise LoadError(f"tier {tier.name}: remote.url: {error}") from None

    @classmethod
    def load(cls, models: Models) -> Self:
        """Load the discriminator, if one must judge; raise LoadError."""
        judge = None
        if models.discriminator is not None:
            from hadis_worker.discriminator import load_judge  # it imports torch

            judge = load_judge(models.discriminator, "cpu")
        return cls(models.tiers, models.api_keys, judge)

    @property
    def abilities(self) -> dict[str, TierAbility]:
        """What each tier can do, by name: what its endpoint is told to accept."""
        return {
            name: TierAbility(
                negative_prompts=tier.remote is not None and "negative_prompt" in tier.remote.accepts,
                edits=Edits(images=0),
            )
            for name, tier in self._tiers.items()
        }

    def check(self, batch: GenerateBatch) -> Tier:
        """Return the batch's tier; raise UnknownTierError or BatchError, whose messages are for the caller."""
        tier = check_batch(batch, self._tiers, judges=self._judge is not None)
        if any(job.edit for job in batch.jobs):
            raise BatchError(f"tier {tier.name}: its endpoint is asked for images of text alone")
        return tier

    def generate(self, batch: GenerateBatch, counter: Steps | None = None) -> Made:
        """Return each job's result and image (None beside an error), in order.

        Raises what `check` raises, BatchCancelled where `counter` was told to stop the batch, and EngineUnavailable
        where its endpoint would make none of them. Not to be called on an event loop.
        """
        tier, started = self.check(batch), time.perf_counter()
        answers = self._loop.run_until_complete(self.fetch(tier, batch.jobs, counter))
        size = batch.jobs[0].size or tier.size
        outcomes = [_outcome(tier, size, answer) for answer in answers]
        if batch.discriminate:
            with counter.timed("judge") if counter else contextlib.nullcontext():
                outcomes = self._judged(tier.name, batch.jobs, outcomes)
        service_s = time.perf_counter() - started
        return [result_of(job, outcome, service_s) for job, outcome in zip(batch.jobs, outcomes, strict=True)]

    async def fetch(self, tier: Tier, jobs: Sequence[WireJob], counter: Steps | None = None) -> list[bytes | Fault]:
        """Return each job's encoded image or its fault; raise BatchCancelled, and EngineUnavailable where all have it.

        Whatever ends it closes the connections of jobs that have no answer. To be called on one loop alone.
        """
        if self._http is None:
            self._http = self._client()
        endpoint = Endpoint(tier, self._keys.get(tier.name), self._http)
        tasks = [asyncio.create_task(endpoint.image(job)) for job in jobs]
        try:
            await _finish(tasks, tier.steps, counter)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        away = [error for task in tasks if isinstance(error := task.exception(), EngineUnavailable)]
        breaker = self._breakers[tier.name]
        if len(away) == len(tasks):
            if isinstance(away[0], EndpointRefuses):
                breaker.refused(str(away[0]), asyncio.get_running_loop().time())
            raise away[0]
        breaker.made()
        return [
            Fault("unavailable", str(error))
            if isinstance(error := task.exception(), EngineUnavailable)
            else task.result()
            for task in tasks
        ]

    async def watch(self) -> None:
        """Ask the endpoints every few seconds whether they answer, until cancelled.

        One that answers but refused to make images is away, too, until a batch is to be tried again.
        """
        failures = 0
        async with self._client() as http:
            endpoints = [Endpoint(tier, self._keys.get(tier.name), http) for tier in self._tiers.values()]
            while True:
                reasons = await asyncio.gather(*(endpoint.why_unavailable() for endpoint in endpoints))
                reason = next(filter(None, reasons), None)
                failures = failures + 1 if reason else 0
                now = asyncio.get_running_loop().time()
                refused = next(filter(None, (breaker.why_open(now) for breaker in self._breakers.values())), None)
                if refused or reason is None or self.unavailable is not None or failures >= _FAILURES:
                    self._note(reason or refused)
                await asyncio.sleep(_WATCH_EVERY_S)

    def _note(self, reason: str | None) -> None:
        if reason != self.unavailable:
            log.log(logging.WARNING if reason else logging.INFO, "%s", reason or "the endpoint answers")
        self.unavailable = reason

    def _judged(self, tier: str, jobs: Sequence[WireJob], outcomes: Sequence[JobOutcome]) -> list[JobOutcome]:
        assert self._judge is not None  # `check` saw to it
        good = [(o.image, job.prompt) for job, o in zip(jobs, outcomes, strict=True) if isinstance(o, Picture)]
        sure = iter(self._judge.confidence([image for image, _ in good], [prompt for _, prompt in good], tier))
        return [replace(o, confidence=next(sure)) if isinstance(o, Picture) else o for o in outcomes]

    def _client(self) -> httpx.AsyncClient:
        # `Endpoint` limits the whole of an image.
        timeout = httpx.Timeout(None, connect=_CONNECT_S)
        limits = httpx.Limits(
            max_connections=100, max_keepalive_connections=20, keepalive_expiry=keep_alive.CLIENT_ELSEWHERE_S
        )
        return httpx.AsyncClient(timeout=timeout, limits=limits, transport=self._transport, verify=self._ssl)


async def _finish(tasks: Sequence[asyncio.Task[bytes | Fault]], steps: int, counter: Steps | None) -> None:
    """Wait for all tasks; raise BatchCancelled once `counter` was told to stop. An image counts when it is there."""
    pending = set(tasks)
    while pending:
        done, pending = await asyncio.wait(pending, timeout=_POLL_S, return_when=asyncio.FIRST_COMPLETED)
        if counter is not None:
            counter.end_call(len(done))
            counter.count(0, 0, steps)


def _outcome(tier: Tier, size: str, answer: bytes | Fault) -> JobOutcome:
    """Return the picture in an answer, or what is wrong with it."""
    if isinstance(answer, Fault):
        return answer
    try:
        image = Image.open(BytesIO(answer), formats=("PNG", "JPEG", "WEBP"))
        if (made := f"{image.width}x{image.height}") != size:
            return Fault("failed", f"the endpoint of tier {tier.name} makes {made} where {size} is asked for")
        return Picture(image.convert("RGB"))
    except Exception:  # Pillow raises much else than it documents
        return Fault("failed", f"what the endpoint of tier {tier.name} sends is no PNG, JPEG or WebP image")
