"""One image on its way through the router: what was asked, where it has been, and how it ended.

`Job` is the only mutable thing that travels between the queues, the cascade and the API; `Answer` is what a
finished job leaves behind, and `ServeError` is how one fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from hadis.protocol.worker import Format, WireJob

Path = Literal["light", "heavy", "deferred", "kept-light"]
PATHS: tuple[Path, ...] = ("light", "heavy", "deferred", "kept-light")


class ServeError(Exception):
    """A job that gets no image: the HTTP status, a code for programs and a message for people."""

    def __init__(
        self, status: int, code: str, message: str, retry_after_s: int | None = None, param: str | None = None
    ) -> None:
        """Keep the parts; `retry_after_s` becomes the Retry-After header, `param` the field that was wrong."""
        super().__init__(message)
        self.param = param or None
        self.status, self.code, self.message, self.retry_after_s = status, code, message, retry_after_s


@dataclass(frozen=True, slots=True)
class ImageParams:
    """What one image should be. None means: as the tier's profile says."""

    prompt: str
    seed: int
    negative_prompt: str | None = None
    size: str | None = None
    steps: int | None = None
    guidance: float | None = None
    format: Format = "png"
    compression: int = 90

    @property
    def batch_key(self) -> tuple[str | None, int | None, float | None]:
        """What must be alike for two jobs to share a batch."""
        return self.size, self.steps, self.guidance


@dataclass(frozen=True, slots=True)
class Attempt:
    """One finished turn on a tier."""

    tier: str
    worker: str
    wait_s: float
    service_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The image and what it went through."""

    image: bytes
    path: Path
    difficulty: float | None
    confidence: float | None
    attempts: tuple[Attempt, ...]
    retries: int
    latency_s: float
    plan_generation: int
    thresholds: tuple[float | None, float | None]
    """Of difficulty and confidence, as they were when the job came."""
    light_image: bytes | None = None
    """Kept while the heavy tier worked."""

    @property
    def wait_s(self) -> float:
        """Seconds spent in queues."""
        return sum(attempt.wait_s for attempt in self.attempts)

    @property
    def service_s(self) -> float:
        """Seconds spent in batches."""
        return sum(attempt.service_s for attempt in self.attempts)


@dataclass(slots=True, eq=False)
class Job:
    """An image to make by `deadline` (loop time); `future` gets its Answer or a ServeError, or is cancelled."""

    id: str
    params: ImageParams
    arrived: float
    deadline: float
    future: asyncio.Future[Answer]
    forced_tier: str | None = None
    wanted: Literal["light", "heavy"] | None = None
    """What the client asked for where the plan would decide otherwise."""
    difficulty: float | None = None
    tier: str = ""
    """The tier whose queue the job is or was last in."""
    queued_at: float = 0.0
    running: bool = False
    first: str = ""
    """The tier that it was sent to first."""
    cascade: tuple[str, str] = ("", "")
    """The light and heavy tier of the plan that it was decided under."""
    thresholds: tuple[float | None, float | None] = (None, None)
    stepped_down: bool = False
    """Whether it waited for the heavy tier until only the light one could answer in time."""
    light_image: bytes | None = None
    on_light: Callable[[], None] | None = None
    """Called when `light_image` is there and the heavy tier makes another."""
    confidence: float | None = None
    attempts: list[Attempt] = field(default_factory=list)
    retries: int = 0
    generation: int = 0
    timer: asyncio.TimerHandle | None = None

    @property
    def done(self) -> bool:
        """Whether the job is answered, failed or cancelled."""
        return self.future.done()

    @property
    def deferred(self) -> bool:
        """Whether a light image is kept while the heavy one is waited for."""
        return self.light_image is not None

    def add_attempt(self, tier: str, worker: str, began: float, service_s: float) -> None:
        """Note a finished turn that began at `began` (loop time)."""
        self.attempts.append(Attempt(tier, worker, began - self.queued_at, service_s))

    def answer(self, image: bytes, path: Path, now: float) -> None:
        """Finish with an image; nothing happens to a job that is done."""
        if not self.future.done():
            self.future.set_result(
                Answer(
                    image, path, self.difficulty, self.confidence, tuple(self.attempts), self.retries,
                    now - self.arrived, self.generation, self.thresholds, self.light_image,
                )
            )  # fmt: skip

    def fail(self, error: ServeError) -> None:
        """Finish with an error; nothing happens to a job that is done."""
        if not self.future.done():
            self.future.set_exception(error)

    def wire(self) -> WireJob:
        """Return the job as the worker reads it."""
        p = self.params
        return WireJob(
            id=self.id, prompt=p.prompt, negative_prompt=p.negative_prompt, seed=p.seed, size=p.size, steps=p.steps,
            guidance=p.guidance, format=p.format, compression=p.compression,
        )  # fmt: skip
