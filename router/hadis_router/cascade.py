"""The cascade's decisions: where a prompt goes first, and whether a light image is made again.

Pure but for the thresholds, which learn from what they see.
"""

from __future__ import annotations

from hadis.planning.plan import Plan
from hadis.planning.profile import Profile

from hadis_router.job import Job
from hadis_router.thresholds import Thresholds


class Cascade:
    """Follows the plan's ratios by difficulty and confidence."""

    def __init__(self, profile: Profile) -> None:
        """Start from the profile's quantiles."""
        self._thresholds = Thresholds(profile)

    def first(self, job: Job, plan: Plan) -> str:
        """Return the tier that a job is for: forced, asked for, or by its difficulty."""
        if job.forced_tier is not None:
            return job.forced_tier
        if plan.light == plan.heavy:
            return plan.light
        # Every prompt is learnt, whoever decides, so that the threshold stays that of the traffic.
        hard = job.difficulty is not None and self._thresholds.direct(job.difficulty, plan.direct_ratio)
        if job.wanted is not None:
            hard = job.wanted == "heavy"
        return plan.heavy if hard else plan.light

    def again(self, job: Job, plan: Plan) -> bool:
        """Return whether the plan wants a job's light image made again by its heavy tier."""
        decided = job.forced_tier is not None or job.stepped_down or job.confidence is None
        if decided or plan.light == plan.heavy or job.tier != plan.light:
            return False
        doubtful = self._thresholds.defer(job.tier, job.confidence or 0.0, plan.deferral_ratio)
        return doubtful and job.wanted is None

    def thresholds(self, plan: Plan) -> tuple[float | None, float | None]:
        """Return the difficulty over which prompts go straight to heavy, and the confidence under which they defer."""
        return self._thresholds.current(plan.light, plan.direct_ratio, plan.deferral_ratio)
