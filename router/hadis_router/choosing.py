"""Choosing: the next batch to start, as long as some worker is idle and some job waits for a tier that it has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from hadis_router.outlook import Outlook
from hadis_router.workers import RemoteWorker


class Choice(NamedTuple):
    """A batch to start: up to `size` jobs of a tier on a worker."""

    worker: RemoteWorker
    tier: str
    size: int


def choose(outlook: Outlook) -> Choice | None:
    """Return the most urgent batch that an idle worker can make; None where there is none."""
    idle = outlook.workers.idle(outlook.now)
    if not idle:
        return None
    tier = most_urgent_tier(outlook, idle)
    if tier is None:
        return None
    able = [worker for worker in idle if tier in worker.tiers]
    return Choice(able[0], tier, batch_size(outlook, tier, len(able)))


def most_urgent_tier(outlook: Outlook, idle: Sequence[RemoteWorker]) -> str | None:
    """Return the tier whose first job has the least time to spare, of those that an idle worker has.

    A tier that already runs on as many workers as the plan gives it comes after one that does not. It still comes
    before nothing: no worker is idle while a job waits that it can make.
    """
    most_urgent, tier_of_it = (True, math.inf), None
    for tier, queue in outlook.queues.items():
        head = queue.head() if len(queue) else None
        if head is None or not any(tier in worker.tiers for worker in idle):
            continue
        over_count = outlook.workers.running(tier) >= outlook.worker_count(tier)
        spare_s = head.deadline - outlook.now - outlook.estimates.latency_s(tier, 1)
        if tier_of_it is None or (over_count, spare_s) < most_urgent:
            most_urgent, tier_of_it = (over_count, spare_s), tier
    return tier_of_it


def batch_size(outlook: Outlook, tier: str, idle: int) -> int:
    """Return the plan's batch, or less: `idle` workers share what waits, and the first job must not be late."""
    queue = outlook.queues[tier]
    size = min(outlook.batch_limit(tier), math.ceil(len(queue) / max(1, idle)))
    head = queue.head()
    while size > 1 and head and outlook.now + outlook.batch_s(tier, size) > head.deadline:
        size -= 1
    return max(1, size)
