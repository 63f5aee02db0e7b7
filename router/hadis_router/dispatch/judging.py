"""Judging: which batches the discriminator looks at. That takes time, so it is none of which nothing depends."""

from __future__ import annotations

from collections.abc import Sequence

from hadis.planning.plan import Plan

from hadis_router.dispatch.job import Job
from hadis_router.dispatch.lanes import Lanes

SAMPLED = 20
"""Of the light batches that nothing is deferred of, one in so many is judged all the same: thresholds must know the
confidences of today's images before a plan defers again."""


class Judging:
    """Says of each batch whether it is judged."""

    def __init__(self, lanes: Lanes, *, has_discriminator: bool) -> None:
        """While `lanes` try a new profile, every light image is judged: confidences are compared."""
        self._lanes, self._has_discriminator = lanes, has_discriminator
        self._unjudged = 0

    def judges(self, tier: str, jobs: Sequence[Job], plan: Plan | None) -> bool:
        """Return whether a batch of a tier, under the plan in force, is judged; each answer counts for the sample."""
        if not self._has_discriminator:
            return False
        if any(job.best_of_two for job in jobs):
            return True
        if plan is None or tier != plan.light or plan.light == plan.heavy:
            return False
        if plan.judges(tier) or self._lanes.canary is not None:
            return True
        self._unjudged = (self._unjudged + 1) % SAMPLED
        return self._unjudged == 0
