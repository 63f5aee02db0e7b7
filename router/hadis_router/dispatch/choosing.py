"""Choosing: the next batch to start, as long as some worker is idle and some job waits for a tier that it has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from hadis.planning.speeds import SLOW_WORKER

from hadis_router.dispatch.deadlines import answer_by
from hadis_router.dispatch.fallback import fallback
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.light_reserve import LightReserve
from hadis_router.dispatch.outlook import Outlook
from hadis_router.dispatch.workers import RemoteWorker


class Choice(NamedTuple):
    """A batch to start: up to `size` jobs of a tier on a worker."""

    worker: RemoteWorker
    tier: str
    size: int


class StepDown(NamedTuple):
    """Jobs that must not wait for their tier any longer: only a lighter one can still answer all in time."""

    jobs: Sequence[Job]
    tier: str


class GiveUp(NamedTuple):
    """A job that no worker and no tier can answer in time any more, while others wait behind it."""

    job: Job


def choose(outlook: Outlook) -> Choice | StepDown | GiveUp | None:
    """Return the most urgent batch that an idle worker can make; None where there is none."""
    idle = outlook.workers.idle(outlook.now)
    if not idle:
        return None
    light = outlook.plan.light if outlook.plan and outlook.guards_light else None
    for tier in by_urgency(outlook, idle):
        able = [worker for worker in idle if tier in worker.tiers]
        worker = min(able, key=lambda worker: outlook.estimates.worker_ratio(worker.url))
        head = outlook.queues[tier].first()
        if head and in_vain(outlook, tier, worker, head):
            continue  # a faster worker will see to it, or its light image is the answer
        if head and len(outlook.queues[tier]) > 1 and _is_lost(outlook, tier, head):
            lighter = fallback(outlook, tier, running=False) if head.needy else None
            return GiveUp(head) if lighter is None else StepDown((head,), lighter)
        size = batch_size(outlook, tier, worker, len(able))
        if light is None or not outlook.lighter(light, tier):
            return light_batch(outlook, light, worker, size) if tier == light else Choice(worker, tier, size)
        reserve = LightReserve(outlook, light)
        image_size = head.params.size if head else None
        single_s = outlook.batch_s(tier, 1, image_size)
        longest_s = outlook.longest_s(tier, single_s * outlook.estimates.worker_ratio(worker.url))
        if head and head.needy and outlook.now + longest_s > head.deadline:
            continue  # a faster worker, or the light tier, will see to it
        while size and not reserve.allows(worker, tier, size, image_size):
            size //= 2
        if size:
            return Choice(worker, tier, size)
        needy = outlook.queues[tier].most_urgent_needy(outlook.batch_limit(light))
        if needy:
            return StepDown(needy, light)
    return None


def by_urgency(outlook: Outlook, idle: Sequence[RemoteWorker]) -> list[str]:
    """Return the tiers that wait for workers like the idle ones, that whose first job has the least time first.

    A tier that already runs on as many workers as the plan gives it comes after one that does not. It still comes
    before nothing: no worker is idle while a job waits that it can make. A tier lighter than the plan's has no such
    count: what waits for it is the last that can still answer in time. Nor have jobs that no other tier can make.
    """
    urgency = {}
    for tier, queue in outlook.queues.items():
        head = queue.head() if len(queue) else None
        if head is None or not any(tier in worker.tiers for worker in idle):
            continue
        last_resort = outlook.plan is not None and outlook.lighter(tier, outlook.plan.light)
        over_count = not last_resort and outlook.workers.running(tier) >= outlook.worker_count(tier)
        due_s = head.deadline - outlook.now - outlook.estimates.latency_s(tier, 1, image_size=head.params.size)
        if outlook.plan is not None and queue.begun_bound(1):
            bound_s = LightReserve(outlook, outlook.plan.light).bound_s(tier)
            over_count, due_s = False, bound_s if over_count else min(due_s, bound_s)
        urgency[tier] = over_count, due_s
    return sorted(urgency, key=urgency.__getitem__)


def in_vain(outlook: Outlook, tier: str, worker: RemoteWorker, job: Job) -> bool:
    """Return whether a worker is too slow for a job: the light image that it has would be the answer before.

    One that has none is in vain there where another worker, busy now, would still be in time.
    """
    ratio, single_s = outlook.estimates.worker_ratio, outlook.batch_s(tier, 1, job.params.size)
    if job.light_image is not None:
        of_worker = ratio(worker.url)
        return of_worker >= SLOW_WORKER and outlook.now + single_s * of_worker > answer_by(job, outlook.slo_s)

    def in_time(of: RemoteWorker) -> bool:
        ready_s = outlook.now + of.left_s(outlook.now, outlook.longest_s)
        return ready_s + outlook.longest_s(tier, single_s * ratio(of.url)) <= job.deadline

    return not in_time(worker) and any(in_time(other) for other in outlook.workers if tier in other.tiers)


def _is_lost(outlook: Outlook, tier: str, job: Job) -> bool:
    """Return whether a job without an image is late even by itself, whichever worker takes it next.

    Its batch would be for nothing, and make those behind it late in turn: in an overload, each of them.
    """
    if job.light_image is not None:
        return False
    single_s, ratio = outlook.batch_s(tier, 1, job.params.size), outlook.estimates.worker_ratio
    able = (worker for worker in outlook.workers if tier in worker.tiers)
    return all(outlook.now + each.left_s(outlook.now) + single_s * ratio(each.url) > job.deadline for each in able)


def batch_size(outlook: Outlook, tier: str, worker: RemoteWorker, idle: int) -> int:
    """Return the plan's batch, or less: `idle` workers share what waits, and the first job must not be late."""
    queue = outlook.queues[tier]
    head = queue.first()
    image_size = head.params.size if head else None
    size = queue.alike(min(outlook.batch_limit(tier, image_size), math.ceil(len(queue) / max(1, idle))))
    ratio = outlook.estimates.worker_ratio(worker.url)
    while size > 1:
        batch_s = outlook.batch_s(tier, size, image_size) * ratio
        # A deferred job at the head has its light image; the first one behind it that has none needs the slack.
        due, imageless_due = queue.dues(size)
        if outlook.now + batch_s <= due and outlook.now + outlook.longest_s(tier, batch_s) <= imageless_due:
            break
        size -= 1
    return max(1, size)


def light_batch(outlook: Outlook, light: str, worker: RemoteWorker, size: int) -> Choice | StepDown:
    """Return a light batch of that size, or of another one that leaves those who wait behind it their time.

    Where it must hold jobs that wait for heavier tiers, these step down first.
    """
    queue, smaller = outlook.queues[light], size
    heavier = [heavy for tier, heavy in outlook.queues.items() if outlook.lighter(light, tier)]
    if len(queue) <= size and not any(heavy.needy or heavy.bound for heavy in heavier):
        return Choice(worker, light, size)  # nobody is behind it
    reserve = LightReserve(outlook, light)
    while smaller and not reserve.allows_light(worker, queue.following(smaller)):
        smaller //= 2
    if smaller:
        return Choice(worker, light, smaller)
    batch = reserve.batch()
    if batch is None:  # some are late already, whatever is begun
        while size > 1 and reserve.delays_bound(worker, size, queue.following(1)[0].params.size):
            size //= 2
        return Choice(worker, light, size)
    jobs = queue.following(batch)
    last = jobs[-1].deadline if len(jobs) == batch else math.inf
    urgent = [job for heavy in heavier for job in heavy.most_urgent_needy(batch) if job.deadline < last]
    return StepDown(urgent, light) if urgent else Choice(worker, light, len(jobs))
