"""Where a job is on its way, why it is for its tier, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from hadis.protocol.worker import Progress


class Stage(Enum):
    """Where a job is."""

    NEW = "new"
    """Not admitted yet: it has no tier."""
    WAITING = "waiting"
    """In the queue of its tier."""
    RUNNING = "running"
    """In a batch on a worker."""
    ENDED = "ended"
    """Answered, failed or cancelled."""


class TierReason(Enum):
    """Why a job is for its tier."""

    PLANNED = "planned"
    """The plan or the client chose the tier; if it is the light one, its image may still be deferred."""
    STEPPED_DOWN = "stepped down"
    """Only a lighter tier than the chosen one can answer in time; its image is the answer."""
    DEFERRED = "deferred"
    """The light image was not good enough; it is kept while the heavy tier makes another."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What was decided when a job was admitted."""

    tier: str
    """The tier that it is sent to first."""
    tier_reason: TierReason
    cascade: tuple[str, str]
    """The light and heavy tier that it was decided under; twice the same where the plan's cascade was left."""
    plan_generation: int
    thresholds: tuple[float | None, float | None]
    """Of difficulty and confidence."""


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job is."""

    ahead: int
    """Jobs that are made before it."""
    left_s: float
    """About the seconds until it is made."""
    steps: Progress | None
    """Of the batch that it is in, once its worker has told."""
