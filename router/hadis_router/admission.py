"""Admission: which tier a new job goes to, or the error that refuses it and says when to try again.

Better refused at once than late: a job is admitted only where some tier would answer before its deadline.
"""

from __future__ import annotations

from hadis.planning.plan import Plan

from hadis_router import refusals
from hadis_router.cascade import Cascade
from hadis_router.job import Admission, Job, TierReason
from hadis_router.outlook import Outlook


def admit(job: Job, outlook: Outlook, cascade: Cascade, queue_limit: int) -> Admission:
    """Return where a job goes; raise ServeError (503: nobody can serve it; 429: the queue is full or too long)."""
    plan = outlook.plan
    if plan is None or not len(outlook.workers):
        raise refusals.no_worker()
    waiting = outlook.waiting()
    if waiting >= queue_limit:
        raise refusals.queue_full(waiting, outlook.drain_s())
    chosen = _available(job, outlook, plan, cascade.first_tier(job, plan))
    tier = _in_time(job, outlook, chosen)
    in_cascade = tier == chosen or tier in (plan.light, plan.heavy)
    return Admission(
        tier,
        TierReason.PLANNED if in_cascade else TierReason.STEPPED_DOWN,
        (plan.light, plan.heavy) if in_cascade else (tier, tier),
        plan.generation,
        cascade.thresholds(plan),
    )


def _available(job: Job, outlook: Outlook, plan: Plan, tier: str) -> str:
    """Return the tier if some worker has it, else the other one of the plan: workers may be changing their tiers."""
    if not outlook.workers.having(tier) and job.forced_tier is None:
        tier = plan.light if tier == plan.heavy else plan.heavy
    if not outlook.workers.having(tier):
        raise refusals.no_worker_with(tier)
    return tier


def _in_time(job: Job, outlook: Outlook, tier: str) -> str:
    """Return the tier if it would answer in time, else the heaviest of the lighter ones that would.

    An image of a lighter tier in time is worth more than a better one too late.
    """
    late_s = outlook.ends_at(job.deadline, tier) - job.deadline
    if late_s <= 0:
        return tier
    names = list(outlook.queues)
    lighter = names[: names.index(tier)] if job.forced_tier is None else []
    for other in reversed(lighter):
        if outlook.workers.having(other) and outlook.ends_at(job.deadline, other) <= job.deadline:
            return other
    raise refusals.too_late(late_s)
