"""Lanes: the profile in force routes most requests, a new one that is tried (the canary) routes a share of them.

A lane decides what a profile decides: which prompts are hard, and which light images are not good enough. All else is
that of the plan in force: the tiers, the batches, the promises. What becomes of the requests is counted by lane while a
new profile is tried, for whoever compares them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

from hadis.planning.comparison import GroupCounts
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.planning.rollout import Canary

from hadis_router.dispatch.cascade import CascadeRouting
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.outlook import Outlook
from hadis_router.dispatch.stages import TierReason


class Lanes:
    """The stable lane, and the canary's where there is one."""

    def __init__(self, profile: Profile, chance: random.Random | None = None) -> None:
        """Begin with the profile in force alone; `chance` says which requests the canary gets."""
        self._chance = chance or random.Random()
        self._profile = profile
        self.stable = CascadeRouting(profile)
        self.canary: Canary | None = None
        self._tried: Canary | None = None
        """The last one: what was counted of it goes on where it comes back."""
        self._of_canary = self.stable
        self._counts: dict[bool, GroupCounts] = {}

    def set_canary(self, canary: Canary | None) -> None:
        """Try a new profile from now on, or none; that its ratios follow the load begins nothing anew.

        One that is compared with another profile than ours is for routers that started with that.
        """
        if canary is not None and canary.stable != self._profile.hash:
            canary = None
        self.canary = canary
        if canary is None:
            return
        before, self._tried = self._tried, canary
        if before is None or (before.profile, before.stable) != (canary.profile, canary.stable):
            self._counts = {False: GroupCounts(), True: GroupCounts()}
            self._of_canary = CascadeRouting(self._profile, canary)
        elif before.light != canary.light:
            self._of_canary = CascadeRouting(self._profile, canary)

    @property
    def counts(self) -> Mapping[str, GroupCounts]:
        """What was counted since the new profile is tried, by the hash of the profile; empty where none is."""
        if self.canary is None:
            return {}
        return {self.canary.stable: self._counts[False], self.canary.profile: self._counts[True]}

    def next_is_canary(self) -> bool:
        """Return whether the next request is one of the canary's."""
        return self.canary is not None and self._chance.random() < self.canary.share

    def decides(self, job: Job, outlook: Outlook) -> tuple[CascadeRouting, Outlook]:
        """Return what decides on a job, and the outlook with the ratios that it keeps."""
        if outlook.plan is None:
            return self.stable, outlook
        cascade, plan = self.of(job, outlook.plan)
        return cascade, outlook if plan is outlook.plan else replace(outlook, plan=plan)

    def of(self, job: Job, plan: Plan) -> tuple[CascadeRouting, Plan]:
        """Return what decides on a job, and the plan with the ratios that it keeps."""
        canary = self.canary
        if not job.canary or canary is None or (canary.light, canary.heavy) != (plan.light, plan.heavy):
            return self.stable, plan
        direct, deferral = canary.direct_ratio, canary.deferral_ratio
        tried = replace(plan, direct_ratio=direct, deferral_ratio=deferral, best_of_two=canary.best_of_two)
        return self._of_canary, tried

    def judged(self, job: Job, plan: Plan, *, deferred: bool) -> None:
        """Count a light image that could be deferred, under the plan whose ratios its lane keeps."""
        planned_for = job.tier_reason is TierReason.PLANNED and job.tier == plan.light != plan.heavy
        if self._compared(job) and planned_for and job.confidence is not None and job.may_go_to(plan.heavy):
            planned, confidence = plan.deferral_ratio, job.confidence
            self._add(job, GroupCounts(0, 0, 0, 1, deferred, planned, confidence, confidence * confidence))

    def ended(self, job: Job, *, in_time: bool) -> None:
        """Count a job that is over; what its client cancelled or asked for wrongly says nothing of a profile."""
        if self._compared(job) and job.outcome in ("answered", "refused", "failed"):
            self._add(job, GroupCounts(1, not in_time, job.outcome != "answered"))

    def _compared(self, job: Job) -> bool:
        """Return whether the profile decides on a job: not where its client does."""
        return self.canary is not None and job.forced_tier is None and job.preference is None

    def _add(self, job: Job, counts: GroupCounts) -> None:
        self._counts[job.canary] += counts
