"""From a request to its jobs: which tiers may make its images, how hard its prompt is, what each image should be."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from hadis.planning.restricted import restriction

from hadis_router.dispatch import refusals
from hadis_router.dispatch.dispatcher import Dispatcher
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.trace import JobTrace, no_trace
from hadis_router.http.capabilities import able_tiers, chosen_from, requested_size, without_effect
from hadis_router.http.images import GenerateRequest, image_params
from hadis_router.http.metrics import RouterMetrics
from hadis_router.http.models import ModelNames
from hadis_router.http.repeats.keys import edit_digest, repeat_keys
from hadis_router.http.repeats.service import Repeats
from hadis_router.http.scorers import Scorers

_SEED_BITS = 52
"""Of a request that names none: with those of its further images it is a number that JavaScript reads exactly."""


class JobMaker:
    """Makes jobs, and submits none."""

    def __init__(
        self, dispatcher: Dispatcher, models: ModelNames, scorers: Scorers, repeats: Repeats, metrics: RouterMetrics
    ) -> None:
        """Use the gateway's own."""
        self._dispatcher, self._models, self._scorers = dispatcher, models, scorers
        self._repeats, self._metrics = repeats, metrics
        self.new_trace: Callable[[float], JobTrace] = no_trace
        """Of a job of the request that is handled, by when it arrived (loop time)."""

    async def jobs(
        self, request: GenerateRequest, client: str, arrived: float, request_id: str, *, batch: bool
    ) -> list[Job]:
        """Return the jobs of a client's request; raise ServeError for what cannot be made, or no longer in time.

        `arrived` is loop time; `batch` is the priority class.
        """
        forced, plan = self._models.forced_tier(request.model), self._dispatcher.plan
        candidates = self._models.candidates(forced)
        able = able_tiers(request, candidates, forced is not None)
        if ineffective := without_effect(request, able):
            request.ignoring((*request.ignored, *ineffective))
        size = requested_size(request, able)
        canary = forced is None and self._dispatcher.lanes.next_is_canary()
        scorer = self._scorers.of(canary=canary)
        text = self._models.text_read(request.prompt, plan)
        difficulty = None if forced else await scorer.score_off_loop_if_long(text)
        if len(names := chosen_from(request, able, plan)) < len(self._models.candidates(None)):
            self._metrics.restricted(request.n, restriction(names))
        loop, seed = asyncio.get_running_loop(), request.seed
        deadline = arrived + self._dispatcher.slo_s
        if loop.time() >= deadline:
            raise refusals.expired(self._dispatcher.slo_s)
        if seed is None:
            seed = secrets.randbits(_SEED_BITS)
        keys = await self._repeat_keys(request, forced, client)
        return [
            Job(
                id=secrets.token_hex(16),
                params=image_params(request, size, seed, i),
                arrived=arrived,
                deadline=deadline,
                future=loop.create_future(),
                forced_tier=forced,
                able_tiers=None if len(able) == len(candidates) else frozenset(tier.name for tier in able),
                lighter_may=able == candidates[: len(able)],
                preference=request.preference,
                difficulty=difficulty,
                client=client,
                request_id=request_id,
                batch=batch,
                trace=self.new_trace(arrived),
                canary=canary,
                saved_first=request.saves_images,
                repeat_key=keys[i],
            )
            for i in range(request.n)
        ]

    async def _repeat_keys(self, request: GenerateRequest, forced: str | None, client: str) -> list[bytes | None]:
        if self._repeats.spec is None:
            return [None] * request.n
        inputs = await asyncio.to_thread(edit_digest, request.edit) if request.edit is not None else None
        return repeat_keys(request, self._repeats.spec, forced, client, inputs)
