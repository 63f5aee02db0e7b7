"""Falling back: which tier sees to a job that its own cannot, or can no longer, answer."""

from __future__ import annotations

from hadis.planning.plan import Plan

from hadis_router.dispatch.job import Job
from hadis_router.dispatch.outlook import Outlook
from hadis_router.dispatch.stages import TierReason

MOST_RETRIES = 2
"""How many workers may fail a job before it is given up."""


def fallback(outlook: Outlook, tier: str, *, running: bool) -> str | None:
    """Return the tier that may answer in place of a late one, if there is one.

    A job that waits may go to the plan's light tier. For one that runs, there is least time: the lightest tier.
    """
    names = list(outlook.queues)
    lighter = [name for name in names[: names.index(tier)] if outlook.workers.having(name)]
    if not running and outlook.plan is not None and outlook.plan.light in lighter:
        return outlook.plan.light
    return lighter[0] if lighter else None


def tier_in_place(job: Job, tier: str, plan: Plan) -> str:
    """Return where a job goes that waits for a tier which a new plan does not use; the tier itself where it stays."""
    if job.tier_reason is TierReason.STEPPED_DOWN:
        return tier
    instead = (plan.heavy,) if job.deferred else (plan.light, plan.heavy)
    return next((other for other in instead if job.may_go_to(other)), tier)
