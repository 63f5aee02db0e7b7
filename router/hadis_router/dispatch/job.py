"""One image on its way through the router.

`Job` is the only mutable thing that travels between admission, queues and batches. What it is to be is its
`ImageParams`; its `stage` says where it is, its `tier_reason` why it is for its tier (`stages.py`). What it leaves
behind is an Answer or a ServeError (`answer.py`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hadis.planning.best_of_two import light_is_better
from hadis.protocol.worker import JobResult, WireJob

from hadis_router.dispatch.answer import Answer, Attempt, Outcome, Repeat, ServeError, ServingPath
from hadis_router.dispatch.image_params import ImageParams, Preference
from hadis_router.dispatch.stages import Admission, Stage, TierReason
from hadis_router.dispatch.trace import NO_TRACE, JobTrace

if TYPE_CHECKING:
    from hadis_router.dispatch.partials import Partials


@dataclass(slots=True, eq=False)
class Job:
    """An image to make by `deadline` (loop time); `future` gets its Answer or a ServeError, or is cancelled."""

    id: str
    params: ImageParams
    arrived: float
    deadline: float
    future: asyncio.Future[Answer]
    forced_tier: str | None = None
    """The tier that the client named: no other may make the image."""
    able_tiers: frozenset[str] | None = None
    """The tiers that can make the image; None: all."""
    lighter_may: bool = True
    """Whether every tier can make it that is lighter than one that can."""
    preference: Preference | None = None
    difficulty: float | None = None
    client: str = field(kw_only=True)
    """Its client's key; jobs of one key share a fair share."""
    request_id: str | None = None
    """The id of its request, for logs."""
    batch: bool = False
    """Whether it is of the priority class `batch`: admitted only where there is room to spare."""
    partials: Partials | None = None
    """What its client is shown before the answer, if that is more than nothing."""
    trace: JobTrace = NO_TRACE
    canary: bool = False
    """Whether a new profile that is tried decides on it."""
    saved_first: bool = False
    """Whether its image counts once it is saved: `Dispatcher.saved` is told."""
    repeat_key: bytes | None = None
    """What only a job has that asks for the same picture; None: no other does."""

    spare: bool = False
    """Whether nobody waits for it: it is counted nowhere."""

    stage: Stage = Stage.NEW
    tier_reason: TierReason = TierReason.PLANNED
    light_image: bytes | None = None
    confidence: float | None = None
    """In its light image."""
    heavy_confidence: float | None = None
    best_of_two: bool = False
    """Whether the heavy image is judged as well, and the better of the two is to be the answer."""
    attempts: list[Attempt] = field(default_factory=list)
    retries: int = 0
    stand_in: Job | None = None
    """Makes a light image while a heavy batch that this job runs in gets late."""
    stands_in_for: Job | None = None
    follows: Job | None = None
    """The one under way whose answer it gets, too; it is admitted nowhere itself."""
    unsaved: ServingPath | Repeat | None = None
    """How it was answered, while its image is to be saved."""
    lost: ServeError | None = None
    """Why its image could not be saved."""

    # What follows is absent while the stage is NEW.
    admission: Admission = field(init=False, repr=False)
    tier: str = field(init=False, repr=False)
    """The tier whose queue or batch the job is in, or was in last."""
    first_tier: str = field(init=False, repr=False)
    """The tier that it was admitted for, or stepped down to."""
    cascade: tuple[str, str] = field(init=False, repr=False)
    """The light and heavy tier that the last decision about it was made under."""
    queued_at: float = field(init=False, repr=False)

    @property
    def done(self) -> bool:
        """Whether there is nobody to make an image for: it ended, or whoever awaited `future` cancelled it."""
        return self.future.done()

    @property
    def outcome(self) -> Outcome:
        """What its client sees of it; it must be done."""
        if self.lost is not None:
            return self.lost.outcome
        if self.future.cancelled():
            return "cancelled"
        error = self.future.exception()
        return "answered" if error is None else error.outcome if isinstance(error, ServeError) else "failed"

    @property
    def needy(self) -> bool:
        """Whether it has no image yet and a lighter tier than its own may make one.

        A job that some tier cannot make although a heavier one can is promised none: that tier may be the light one.
        """
        may = (self.forced_tier is None and self.lighter_may) or self.stands_in_for is not None
        return may and self.light_image is None

    @property
    def bound(self) -> bool:
        """Whether it has no image yet, and no lighter tier than its own may make one."""
        return self.light_image is None and not self.needy

    @property
    def deferred(self) -> bool:
        """Whether a light image is kept while the heavy one is waited for."""
        return self.tier_reason is TierReason.DEFERRED

    @property
    def light_is_better(self) -> bool:
        """Whether the light image is better than the heavy one, as far as both were judged."""
        light, heavy = self.confidence, self.heavy_confidence
        return self.best_of_two and light is not None and heavy is not None and light_is_better(light, heavy)

    def may_go_to(self, tier: str) -> bool:
        """Return whether a tier can make the image, and the client named no other."""
        return self.forced_tier in (None, tier) and (self.able_tiers is None or tier in self.able_tiers)

    def admit(self, admission: Admission) -> None:
        """Follow what admission decided."""
        self.admission, self.tier_reason = admission, admission.tier_reason
        self.first_tier, self.cascade = admission.tier, admission.cascade
        self.trace.admitted(admission.tier, admission.tier_reason.value, self.difficulty)

    def wait_for(self, tier: str, now: float) -> None:
        """Note that it waits in a tier's queue from `now` (loop time) on."""
        self.stage, self.tier, self.queued_at = Stage.WAITING, tier, now
        self.trace.waits(tier)

    def add_attempt(self, tier: str, worker: str, began: float, report: JobResult) -> None:
        """Note a finished batch that began at `began` (loop time), and what its worker reports."""
        wait_s = began - self.queued_at
        self.attempts.append(Attempt(tier, worker, wait_s, report.service_s, report.size, report.truncated_tokens))
        self.trace.made(report.confidence)

    def step_down(self, tier: str) -> None:
        """Go to a lighter tier, whose image will be the answer."""
        self.first_tier = tier
        if self.tier_reason is TierReason.PLANNED:
            self.tier_reason = TierReason.STEPPED_DOWN
        if tier not in self.cascade:
            self.cascade = (tier, tier)

    def defer(self, light_image: bytes, cascade: tuple[str, str], *, best_of_two: bool) -> None:
        """Keep the light image while the heavy tier of a cascade makes another."""
        self.tier_reason, self.light_image, self.cascade = TierReason.DEFERRED, light_image, cascade
        self.best_of_two = best_of_two

    def make_stand_in(self, light: str, future: asyncio.Future[Answer]) -> Job:
        """Return a job of the light tier that makes an image for this one."""
        self.stand_in = Job(
            f"{self.id}-light",
            self.params,
            self.arrived,
            self.deadline,
            future,
            forced_tier=light,
            client=self.client,
            request_id=self.request_id,
        )
        self.stand_in.stands_in_for, self.stand_in.trace = self, self.trace.stand_in()
        self.stand_in.admit(replace(self.admission, tier=light, tier_reason=TierReason.STEPPED_DOWN))
        return self.stand_in

    def take_light_image(self, image: bytes, by: Job) -> None:
        """Keep the image that a stand-in made, as the answer if the heavy one does not come in time."""
        self.light_image = image
        self.attempts.extend(by.attempts)

    def run(self, worker: str, size: int) -> None:
        """Note that it is in a batch of `size` jobs on a worker."""
        self.stage = Stage.RUNNING
        self.trace.runs("light" if self.tier == self.cascade[0] else "heavy", self.tier, worker, size)

    def answer(self, image: bytes, path: ServingPath, now: float) -> None:
        """End with an image at `now` (loop time); the job must not be done."""
        self.stage = Stage.ENDED
        self.trace.ended("answered")
        self.future.set_result(
            Answer(
                image=image,
                path=path,
                seed=self.params.seed,
                difficulty=self.difficulty,
                confidence=self.confidence,
                heavy_confidence=self.heavy_confidence,
                attempts=tuple(self.attempts),
                retries=self.retries,
                latency_s=now - self.arrived,
                plan_generation=self.admission.plan_generation,
                thresholds=self.admission.thresholds,
                light_image=self.light_image,
            )
        )

    def follow(self, leader: Job) -> None:
        """Wait for the answer of a job that asks for the same picture."""
        self.follows, self.params = leader, replace(self.params, seed=leader.params.seed)

    def repeat(self, answer: Answer, how: Repeat, now: float) -> None:
        """End with the answer of another job, which asks for the same picture, at `now` (loop time)."""
        self.stage = Stage.ENDED
        self.params = replace(self.params, seed=answer.seed)
        self.trace.ended("answered")
        self.future.set_result(replace(answer, latency_s=now - self.arrived, repeat=how))

    def fail(self, error: ServeError) -> None:
        """End with an error; the job must not be done."""
        self.stage = Stage.ENDED
        self.trace.ended(error.code)
        self.future.set_exception(error)

    def cancel(self) -> None:
        """End without answer or error: nobody waits for it."""
        self.stage = Stage.ENDED
        self.trace.ended("cancelled")
        self.future.cancel()

    def wire(self) -> WireJob:
        """Return the job as the worker reads it, but for its inputs, which `edit.batch_of` adds."""
        params = self.params
        return WireJob(
            id=self.id,
            request_id=self.request_id,
            prompt=params.prompt,
            negative_prompt=params.negative_prompt,
            seed=params.seed,
            size=params.size,
            steps=params.steps,
            guidance=params.guidance,
            format=params.format,
            compression=params.compression,
        )
