"""The gate: who is admitted, whose share is in use, and who is known for a moment to be refused whatever he sends."""

from __future__ import annotations

from collections.abc import Sequence

from hadis_router.dispatch import refusals
from hadis_router.dispatch.admission import admission_to, admit, check_share
from hadis_router.dispatch.answer import ServeError
from hadis_router.dispatch.fair_share import FairShares
from hadis_router.dispatch.held import TOO_LATE_S, Held, HeldClients
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.lanes import Lanes
from hadis_router.dispatch.outlook import Outlook
from hadis_router.dispatch.stages import Admission
from hadis_router.dispatch.trials import Trials


class Gate:
    """Admits jobs, and remembers what clients asked for and were refused."""

    def __init__(self, shares: FairShares, lanes: Lanes) -> None:
        """Keep what admission learns in."""
        self._shares, self._lanes, self._held = shares, lanes, HeldClients()
        self._trials = Trials()

    def check_share(self, jobs: Sequence[Job], outlook: Outlook, queue_limit: int) -> None:
        """Count the jobs of one request; raise ServeError 429 where its client has its share already."""
        check_share(jobs, outlook, self._shares, queue_limit, self._held)

    def admit(self, job: Job, outlook: Outlook, queue_limit: int) -> Admission:
        """Return where a job goes; raise ServeError where it must be refused."""
        cascade, seen = self._lanes.decides(job, outlook)
        try:
            return admit(job, seen, cascade, queue_limit, alone=len(self._shares) < 2)
        except ServeError as error:
            tier = self._trials.tier(job, outlook) if error.code == "too_late" else None
            if tier is not None and seen.plan is not None:
                return admission_to(tier, tier, seen.plan, cascade)
            if error.code == "too_late" and job.forced_tier is None and job.able_tiers is None and not job.batch:
                work_s = outlook.first_image_s(job, outlook.plan.light) if outlook.plan else 0.0
                self._held.hold(job.client, Held(error, outlook.now + TOO_LATE_S, work_s))
            raise

    def sure_refusal(self, client: str | None, outlook: Outlook, queue_limit: int) -> ServeError | None:
        """Return what any request of a client would be refused with now, if that is known without a look at it.

        `client` None: of whom it is, only the request's body says.
        """
        if outlook.plan is None or not len(outlook.workers):
            return refusals.no_worker()
        waiting = outlook.waiting()
        if waiting >= queue_limit:
            return refusals.queue_full(waiting, outlook.drain_s())
        held = self._held.refusal(client, outlook.unmade_s(client), outlook.now) if client is not None else None
        if client is None or held is None:
            return None
        self._shares.ask(client, held.work_s, outlook.now)  # what a client wants, refusals included
        return held.error
