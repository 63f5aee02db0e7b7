"""The cascade's decisions: the tier that a job goes to first, and whether a light image is deferred to heavy."""

from __future__ import annotations

from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.planning.rollout import Canary

from hadis_router.dispatch.job import Job
from hadis_router.dispatch.stages import TierReason
from hadis_router.dispatch.thresholds import ThresholdTracker


class CascadeRouting:
    """Follows the plan's ratios by difficulty and confidence; its thresholds learn from every value they see."""

    def __init__(self, profile: Profile, canary: Canary | None = None) -> None:
        """Start from the profile's quantiles, or those of a new one that is tried."""
        difficulty = profile.resource.spec.difficulty if canary is None else canary.difficulty
        confidence = {name: tier.confidence_quantiles for name, tier in profile.tiers.items()}
        if canary is not None:
            confidence[canary.light] = canary.confidence_quantiles
        self._thresholds = ThresholdTracker(difficulty.score_quantiles, confidence)

    def first_tier(self, job: Job, plan: Plan) -> str:
        """Return the tier that a job is for: the one that its client forced or prefers, or by its difficulty."""
        if job.forced_tier is not None:
            return job.forced_tier
        if plan.light == plan.heavy:
            return plan.light
        # Every difficulty is learnt, also of a job whose client decides, so that the threshold is that of all traffic.
        hard = job.difficulty is not None and self._thresholds.direct(job.difficulty, plan.direct_ratio)
        if job.preference is not None:
            hard = job.preference == "heavy"
        return plan.heavy if hard else plan.light

    def should_defer(self, job: Job, plan: Plan) -> bool:
        """Return whether the plan's heavy tier should make a job's image again; no, where nobody judged the image."""
        if job.forced_tier is not None or job.tier_reason is not TierReason.PLANNED or job.confidence is None:
            return False
        if plan.light == plan.heavy or job.tier != plan.light:
            return False
        # Likewise, the confidence is learnt before what the client asks for decides.
        doubtful = self._thresholds.defer(job.tier, job.confidence, plan.deferral_ratio)
        return doubtful and job.preference is None and job.may_go_to(plan.heavy)

    def thresholds(self, plan: Plan) -> tuple[float | None, float | None]:
        """Return the difficulty over which prompts go straight to heavy, and the confidence under which they defer."""
        return self._thresholds.current(plan.light, plan.direct_ratio, plan.deferral_ratio)
