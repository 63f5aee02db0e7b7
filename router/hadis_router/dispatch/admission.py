"""Admission: which tier a new job goes to, or the error that refuses it and says when to try again.

Better refused at once than late: a job is admitted only where some tier would answer before its deadline, and where its
client leaves the others the room for their shares.
"""

from __future__ import annotations

from collections.abc import Sequence

from hadis.planning.plan import Plan

from hadis_router.dispatch import refusals
from hadis_router.dispatch.cascade import CascadeRouting
from hadis_router.dispatch.fair_share import FairShares
from hadis_router.dispatch.held import OVER_SHARE_S, Held, HeldClients
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.light_reserve import LightReserve
from hadis_router.dispatch.outlook import Outlook
from hadis_router.dispatch.stages import Admission, TierReason

_ROUNDING = 1e-9
_FOR_NEWCOMERS = 0.05
"""Share of the room that is for clients who are not known yet: beside a flood, all that there is would be taken when
they come. Of several clients it is kept out of what is shared; one that is alone has no share to be held to."""

_FOR_INTERACTIVE = 0.5
"""Share of the objective that work of the priority class `batch` leaves to the others."""


def check_share(jobs: Sequence[Job], outlook: Outlook, shares: FairShares, queue_limit: int, held: HeldClients) -> None:
    """Count the jobs of one request as its client's demand; raise ServeError 429 where it has its share already.

    A client with nothing that waits is not held to it: who has a share of less than one request may still have one.
    """
    job, plan = jobs[0], outlook.plan
    if plan is None or not len(outlook.workers):
        return
    tier = job.forced_tier or (plan.light if job.may_go_to(plan.light) else plan.heavy)
    tier = outlook.cheapest(job, tier)
    image_s = outlook.image_s(tier, job.params.size)
    shares.ask(job.client, len(jobs) * image_s, outlook.now)
    waiting_s = outlook.unmade_s(job.client)
    if len(shares) < 2 or not waiting_s:
        return
    room_s = sum(sum(queue.unmade_s.values()) for queue in outlook.queues.values())
    room_s += _spare_s(job, outlook, tier, queue_limit)
    limit_s = shares.limit_s(job.client, (1 - _FOR_NEWCOMERS) * room_s, outlook.now)
    if waiting_s + len(jobs) * image_s > limit_s * (1 + _ROUNDING):
        least_s = max(limit_s, image_s)
        beyond = shares.demand_s(job.client, outlook.now) / least_s - 1
        error = refusals.over_share(beyond * shares.horizon_s)
        cheapest_s = min(image_s, *(outlook.image_s(name) for name in (plan.light, *outlook.workers.common_tiers)))
        most_s = max(0.0, limit_s * (1 + _ROUNDING) - cheapest_s)
        held.hold(job.client, Held(error, outlook.now + OVER_SHARE_S, len(jobs) * image_s, most_s))
        raise error


def _spare_s(job: Job, outlook: Outlook, tier: str, queue_limit: int) -> float:
    """Return the GPU seconds of jobs like one that could be admitted now beside all that wait."""
    image_s = outlook.first_image_s(job, tier)
    in_time_s = (job.deadline - outlook.ends_at(job, tier)) * len(outlook.workers.peers(tier))
    spare_s = min(in_time_s, (queue_limit - outlook.waiting()) * image_s)
    if job.needy and outlook.guards_light:
        spare_s = min(spare_s, LightReserve(outlook, tier, job).spare(job.deadline) * image_s)
    return spare_s


def admit(job: Job, outlook: Outlook, cascade: CascadeRouting, queue_limit: int, alone: bool = False) -> Admission:
    """Return where a job goes; raise ServeError (503: nobody can serve it; 429: the queue is full or too long)."""
    plan = outlook.plan
    if plan is None or not len(outlook.workers):
        raise refusals.no_worker()
    waiting = outlook.waiting()
    if waiting >= queue_limit:
        raise refusals.queue_full(waiting, outlook.drain_s())
    chosen = _available(job, outlook, plan, cascade.first_tier(job, plan))
    return admission_to(_in_time(job, outlook, plan, chosen, alone), chosen, plan, cascade)


def admission_to(tier: str, chosen: str, plan: Plan, cascade: CascadeRouting) -> Admission:
    """Return the admission to a tier where the plan's choice is `chosen`."""
    in_cascade = tier == chosen or tier in (plan.light, plan.heavy)
    return Admission(
        tier,
        TierReason.PLANNED if in_cascade else TierReason.STEPPED_DOWN,
        (plan.light, plan.heavy) if in_cascade else (tier, tier),
        plan.generation,
        cascade.thresholds(plan),
    )


def _available(job: Job, outlook: Outlook, plan: Plan, tier: str) -> str:
    """Return the tier if it can make the job and some worker has it, else the other one of the plan.

    Workers may be changing their tiers. Where neither of the plan's can make the job, it is the heaviest that can.
    """
    tiers = [name for name in (tier, plan.light, plan.heavy) if job.may_go_to(name)]
    tiers = tiers or [name for name in reversed(list(outlook.queues)) if job.may_go_to(name)]
    for name in tiers:
        if outlook.workers.having(name):
            return name
    raise refusals.no_worker_with(tiers[0])


def _in_time(job: Job, outlook: Outlook, plan: Plan, tier: str, alone: bool) -> str:
    """Return the tier if it would answer in time, else the heaviest of the lighter ones that would.

    An image of a lighter tier in time is worth more than a better one too late. Whoever the client lets have a light
    image is admitted only where the light tier can be sure to make one, whatever happens to the heavy one.
    """
    spared = _FOR_INTERACTIVE if job.batch else _FOR_NEWCOMERS if alone and outlook.unmade_s(job.client) else 0.0
    margin_s = spared * outlook.slo_s
    due = job.deadline - margin_s
    late_s = outlook.ends_at(job, tier) - due
    if outlook.guards_light and job.bound and not LightReserve(outlook, plan.light, job).takes(job.deadline, tier):
        raise refusals.too_late(late_s)
    if job.forced_tier is not None:
        if late_s > 0:
            raise refusals.too_late(late_s)
        return tier
    reserve = LightReserve(outlook, plan.light, job) if outlook.guards_light and job.needy else None
    if late_s <= 0 and (reserve is None or _takes(reserve, job, outlook, plan.light, margin_s)):
        return tier
    names = list(outlook.queues)
    for other in reversed(names[: names.index(tier)]):
        if reserve is not None and not outlook.lighter(plan.light, other):
            of_other = reserve if other == plan.light else LightReserve(outlook, other, job)
            in_time = _takes(of_other, job, outlook, other, margin_s)
        else:
            in_time = outlook.ends_at(job, other) <= due
        if in_time and job.may_go_to(other) and outlook.workers.having(other):
            return other
    raise refusals.too_late(late_s)


def _takes(reserve: LightReserve, job: Job, outlook: Outlook, light: str, margin_s: float) -> bool:
    """Return whether a light tier can be sure to make a job, and what comes in `margin_s` seconds of its time too."""
    if not reserve.takes(job.deadline):
        return False
    newcomers = margin_s * len(outlook.workers.peers(light)) / outlook.image_s(light, job.params.size)
    return not margin_s or reserve.spare(job.deadline) >= 1 + newcomers
