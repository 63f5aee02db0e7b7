"""Admission: which tier a new job goes to, or the error that refuses it and says when to try again.

Better refused at once than late: a job is admitted only where some tier would answer before its deadline.
"""

from __future__ import annotations

from hadis.planning.plan import Plan

from hadis_router import refusals
from hadis_router.cascade import Cascade
from hadis_router.job import Admission, Job, TierReason
from hadis_router.light_reserve import LightReserve
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
    tier = _in_time(job, outlook, plan, chosen)
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


def _in_time(job: Job, outlook: Outlook, plan: Plan, tier: str) -> str:
    """Return the tier if it would answer in time, else the heaviest of the lighter ones that would.

    An image of a lighter tier in time is worth more than a better one too late. Whoever the client lets have a light
    image is admitted only where the light tier can be sure to make one, whatever happens to the heavy one.
    """
    late_s = outlook.ends_at(job.deadline, tier) - job.deadline
    if job.forced_tier is not None:
        if late_s > 0:
            raise refusals.too_late(late_s)
        return tier
    reserve = LightReserve(outlook, plan.light) if outlook.guards_light else None
    if late_s <= 0 and (reserve is None or reserve.takes(job.deadline)):
        return tier
    names = list(outlook.queues)
    for other in reversed(names[: names.index(tier)]):
        if reserve is not None and not outlook.lighter(plan.light, other):
            in_time = (reserve if other == plan.light else LightReserve(outlook, other)).takes(job.deadline)
        else:
            in_time = outlook.ends_at(job.deadline, other) <= job.deadline
        if in_time and outlook.workers.having(other):
            return other
    raise refusals.too_late(late_s)
