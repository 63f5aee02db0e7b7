"""How a job ends: the record of what an image went through, or the error in its place. Neither changes once made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

ServingPath = Literal["light", "heavy", "deferred", "better-light", "kept-light"]
PATHS: tuple[ServingPath, ...] = get_args(ServingPath)
LIGHT_PATHS: frozenset[ServingPath] = frozenset({"light", "better-light", "kept-light"})
"""At whose end is an image of the light tier."""
Repeat = Literal["cached", "coalesced"]
"""How a request got the answer of one like it: that was there, or it waited for the same image."""
REPEATS: tuple[Repeat, ...] = get_args(Repeat)
Outcome = Literal["answered", "refused", "failed", "invalid", "cancelled"]
"""What its client saw of a job: an image, "try again" (429, 503), no image (other 5xx), its own fault (other 4xx); or
nothing, for it went away."""
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


class ServeError(Exception):
    """A request or job that gets no image: the HTTP status, a code for programs and a message for people."""

    def __init__(
        self, status: int, code: str, message: str, retry_after_s: int | None = None, param: str | None = None
    ) -> None:
        """Keep the parts; `retry_after_s` becomes the Retry-After header, `param` names the field that was wrong."""
        super().__init__(message)
        self.param = param or None
        self.status, self.code, self.message, self.retry_after_s = status, code, message, retry_after_s

    @property
    def outcome(self) -> Outcome:
        """What its client sees of it."""
        if self.status in (429, 503):
            return "refused"
        return "failed" if self.status >= 500 else "invalid"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One batch that made an image for a job: seconds in the queue before it, and seconds in the batch."""

    tier: str
    worker: str
    wait_s: float
    service_s: float
    size: str | None
    """Width x height of the image, in pixels; None where the worker does not tell."""
    truncated_tokens: int | None
    """Tokens of the prompt that the tier did not read; None where the worker does not tell."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The image and what it went through."""

    image: bytes
    path: ServingPath
    seed: int
    difficulty: float | None
    confidence: float | None
    """In the light image."""
    heavy_confidence: float | None
    attempts: tuple[Attempt, ...]
    """In order."""
    retries: int
    latency_s: float
    plan_generation: int
    thresholds: tuple[float | None, float | None]
    """Of difficulty and confidence, as they were when the job was admitted."""
    light_image: bytes | None = None
    """The light image that was kept while the heavy tier worked, if there was one."""
    repeat: Repeat | None = None
    """None: it was made for this request."""

    @property
    def made_by(self) -> Attempt:
        """The attempt that made the image: the last one, or the one before where that image was the better one."""
        return self.attempts[-2 if self.path == "better-light" else -1]

    @property
    def size(self) -> str | None:
        """Width x height of the image, in pixels."""
        return self.made_by.size

    @property
    def truncated_tokens(self) -> int | None:
        """Tokens of the prompt that the image does not show, for its tier did not read them."""
        return self.made_by.truncated_tokens

    @property
    def wait_s(self) -> float:
        """Seconds spent in queues."""
        return sum(attempt.wait_s for attempt in self.attempts)

    @property
    def service_s(self) -> float:
        """Seconds spent in batches."""
        return sum(attempt.service_s for attempt in self.attempts)
