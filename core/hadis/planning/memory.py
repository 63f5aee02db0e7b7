"""What one control step must remember for the next. Times are seconds of the caller's clock, as in `snapshot`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hadis.planning.forecast import Demand
from hadis.planning.plan import Plan
from hadis.planning.profile import FIRST_SIZES, Mix, Restricted
from hadis.planning.rollout import Rollout
from hadis.planning.snapshot import DemandReading
from hadis.planning.speeds import Ratios


@dataclass(frozen=True)
class Lowered:
    """A group whose count was lowered: what it was, and since when its controllers say that they have followed."""

    former: int
    followed_since_s: float | None = None
    gpus: int = 1
    """GPUs that each of its workers takes."""
    again: int | None = None
    """The count that they have followed to, where it was lowered once more since: that is the former one then."""


@dataclass(frozen=True)
class Rest:
    """Whether a service with `gpus.idleAfter` is idle: see `idle`."""

    idle: bool = False
    waking: bool = False
    """Whether it was idle, and no worker is ready since."""
    woke_s: float | None = None
    """When a first worker began to be waited for, none being there; None where that was not seen."""
    quiet_since_s: float | None = None
    """When the last request came, as far as is known."""
    starting_since_s: float | None = None
    """Since when workers are to be there and none is ready."""
    start_s: float | None = None
    """How long the first worker took last time, or takes by the profile; None where a service is never idle."""


@dataclass(frozen=True)
class Memory:
    """What outlives a step.

    After a restart plan, workers, ratios, mix, restricted shares, hash, rollout, whether quality is as predicted, and
    of `rest` whether it is idle or waking and how long a start takes come from the status; all else is learnt anew.
    """

    demand: Demand = Demand()
    reading: DemandReading | None = None
    """The last one."""
    plan: Plan | None = None
    """The plan that routes."""
    target: Plan | None = None
    """The plan for the demand that is coming; None since a restart or a change of spec or profile."""
    workers_by_tier: Mapping[str, int] | None = None
    """Workers desired."""
    ratios: Ratios = field(default_factory=dict)
    """Those that are planned with, by tier and batch size."""
    by_size: Mapping[str, Demand] = field(default_factory=dict)
    """Arrivals of each image size that is told."""
    mix: Mix = FIRST_SIZES
    """The image sizes that are planned with."""
    by_restriction: Mapping[str, Demand] = field(default_factory=dict)
    """Arrivals that only some tiers may make, by these."""
    restricted: Restricted = ()
    """Their shares that are planned with."""
    profile_hash: str = ""
    """Of the profile that they compare with; empty where none was planned with."""
    rollout: Rollout = field(default_factory=Rollout)
    canary_plan: Plan | None = None
    """The new profile's, while it is tried."""
    canary_for: tuple[object, ...] = ()
    """What of spec and of both profiles it is for."""
    recent_gpus: tuple[tuple[float, int], ...] = ()
    """(seconds, GPUs) that plans asked for within the scale-down window."""
    lowered: Mapping[str, Lowered] = field(default_factory=dict)
    """By group, until its controllers have surely followed."""
    began_s: float | None = None
    """When the first step was: what was lowered before is not known."""
    quality_as_predicted: bool | None = None
    """Whether the quality that is watched was as predicted at the last step; None where that is not known."""
    unready_since_s: Mapping[str, float] = field(default_factory=dict)
    """By remote tier without a ready worker."""
    planned_for: tuple[object, ...] = ()
    """What of spec and profile the target is for."""
    routed_for: tuple[object, ...] = ()
    """The same of the plan that routes; empty where that is of before a restart."""
    rest: Rest = Rest()
