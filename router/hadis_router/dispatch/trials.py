"""Trials: a request now and then that is expected too late, where nothing else would show that it no longer is.

How long batches take is learned from batches. After a stall in which they took many times as long as profiled, even
an idle worker seems too slow for any deadline: every request would be refused, no batch would run, and nothing would be
learned ever again. So where all workers idle and requests are refused, one is admitted, and what it takes is learned.
"""

from __future__ import annotations

import math

from hadis_router.dispatch.job import Job
from hadis_router.dispatch.outlook import Outlook

TRIAL_EVERY_S = 10.0
"""Of a service that is as slow as it seems, so many seconds pass between requests that are late in place of refused."""
_LEAST_TIME = 0.5
"""Share of the objective that the request must still have: what came late would say nothing."""


class Trials:
    """Says which refused job is tried all the same."""

    def __init__(self) -> None:
        """Begin with no refusal seen."""
        self._next_at = math.inf
        """Loop time; infinite until a job was refused while all idled."""

    def tier(self, job: Job, outlook: Outlook) -> str | None:
        """Return the tier that a job which would be refused as too late is tried on; None where it stays refused."""
        idle = not outlook.waiting() and all(worker.tier is None for worker in outlook.workers)
        if not idle or job.deadline - outlook.now < _LEAST_TIME * outlook.slo_s:
            return None
        tiers = (name for name in outlook.queues if job.may_go_to(name) and outlook.workers.having(name))
        if self._next_at == math.inf:
            self._next_at = outlook.now + TRIAL_EVERY_S
        if outlook.now < self._next_at or (tier := next(tiers, None)) is None:
            return None
        self._next_at = outlook.now + TRIAL_EVERY_S
        return tier
