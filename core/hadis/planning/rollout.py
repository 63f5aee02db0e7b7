"""A changed profile comes into force: tried on a share of the requests, compared with the old one, then taken over or
rolled back. Pure; who observes passes the two profiles, and who acts lets routers know the canary.

    profiles_in_force -> Snapshot(profile, candidate) -> decide -> advance -> Rollout (remembered), condition

There are so many COMPARISONS of old and new, evenly within the time that the spec sets, and no others: a test that is
made at every step would find a difference by chance sooner or later. All comparisons and measures share one risk
(Bonferroni), so of profiles that are alike at most RISK are rolled back. Where too few requests came for the last
comparison, it waits for them, MOST_TIMES as long at most.

Only what routes is tried: the difficulty's weights, the quantiles, the measured rows. Both profiles must have the same
tiers, which the same workers make, so that the canary takes no GPU; and it keeps to the cascade that is in force.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass

from hadis.api.conditions import Condition, condition
from hadis.api.difficulty import Difficulty
from hadis.api.fields import parse_duration_s
from hadis.api.rollout import RolloutSpec
from hadis.api.tier import TierSettings
from hadis.planning.comparison import GroupCounts, regression
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile

COMPARISONS = 10
RISK = 0.05
"""Probability of rolling back a profile that is like the old one."""
LEAST_IMAGES = 100
"""Of each group, before the new profile is taken over."""
LEAST_TO_COMPARE = 30
"""Of each group, before the new profile may be rolled back."""
MOST_TIMES = 10
"""After so many times the time to compare, one that had too few requests is rolled back."""
_DOCUMENT = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", allow_inf_nan=False)
CONDITION = "ProfileRollout"


@dataclass(frozen=True, config=_DOCUMENT)
class Rollout:
    """How far a new profile has come."""

    candidate: str = Field(default="", description="Content hash of the new profile; empty where there was none yet.")
    began_s: float = Field(default=0.0, description="When the comparison began, Unix time in seconds.")
    comparisons: int = Field(default=0, description="How often old and new were compared.")
    verdict: Literal["Comparing", "TakenOver", "RolledBack"] = Field(
        default="Comparing", description="What became of the new profile."
    )
    reason: str = Field(default="", description="Why, in one word for programs.")
    message: str = Field(default="", description="Why, in words for people.")


@dataclass(frozen=True, config=_DOCUMENT)
class Canary:
    """What routers need to have a new profile route a share of the requests, on the cascade that is in force."""

    profile: str = Field(description="Content hash of the new profile.")
    stable: str = Field(description="Content hash of the profile in force.")
    share: float = Field(description="Share of the requests.")
    light: str = Field(description="The light tier.")
    heavy: str = Field(description="The heavy tier.")
    direct_ratio: float = Field(description="Share of these prompts that go straight to heavy.")
    deferral_ratio: float = Field(description="Share of these light images that the heavy tier makes again.")
    difficulty: Difficulty = Field(description="How the new profile scores prompts.")
    confidence_quantiles: tuple[float, ...] = Field(description="Of the light tier's images, by the new profile.")
    best_of_two: bool = Field(
        default=False, description="Whether heavy images of these deferred requests are judged as well."
    )


def profiles_in_force(
    named: Profile, known: Mapping[str, Profile], spec: RolloutSpec | None, before: str, rollout: Rollout
) -> tuple[Profile, Profile | None]:
    """Return the profile in force, and the new one that is not in force yet, if there is one.

    `named` is what the service names; `known` has former profiles by hash, `before` is that of the one in force until
    now. Where that is not known, there is nothing to compare with, and the new one is in force.
    """
    stable = known.get(before)
    taken_over = rollout.candidate == named.hash and rollout.verdict == "TakenOver"
    if spec is None or stable is None or taken_over or named.hash == before:
        return named, None
    return stable, named


def advance(
    rollout: Rollout,
    spec: RolloutSpec,
    stable: Profile,
    candidate: Profile,
    groups: Mapping[str, GroupCounts],
    now_s: float,
) -> Rollout:
    """Return how far a candidate has come, by what routers counted (`groups`, by hash) until now."""
    if rollout.candidate != candidate.hash or rollout.began_s > now_s:
        rollout = Rollout(candidate.hash, now_s, reason="Begun", message="the comparison begins")
    if rollout.verdict != "Comparing":
        return rollout
    if fault := why_not_comparable(stable, candidate):
        return replace(rollout, verdict="RolledBack", reason="TiersDiffer", message=fault)
    old, new = groups.get(stable.hash, GroupCounts()), groups.get(candidate.hash, GroupCounts())
    for_s, fewest = parse_duration_s(spec.compare_for), min(old.images, new.images)
    due = min(COMPARISONS, int((now_s - rollout.began_s) / for_s * COMPARISONS))
    last = due == COMPARISONS and fewest >= LEAST_IMAGES
    counts = f"{new.images} images by the new profile, {old.images} by the old one"
    if due > rollout.comparisons and fewest >= LEAST_TO_COMPARE and (last or due < COMPARISONS):
        worse = regression(old, new, RISK / COMPARISONS)
        if worse is not None:
            return replace(rollout, comparisons=due, verdict="RolledBack", reason=worse.reason, message=worse.message)
        rollout = replace(rollout, comparisons=due)
    if last:
        return replace(rollout, verdict="TakenOver", reason="AsGood", message=f"not worse in {counts}")
    if due < COMPARISONS:
        return replace(rollout, reason="Comparing", message=f"so far {counts}")
    text = f"{LEAST_IMAGES} of each are needed: {counts}"
    if now_s - rollout.began_s >= MOST_TIMES * for_s:
        return replace(rollout, verdict="RolledBack", reason="TooFewRequests", message=text)
    return replace(rollout, reason="TooFewRequests", message=text)


def why_not_comparable(stable: Profile, candidate: Profile) -> str | None:
    """Return why two profiles cannot be served by the same workers; None where they can."""
    if [_made(stable, name) for name in stable.tiers] == [_made(candidate, name) for name in candidate.tiers]:
        return None
    return (
        "its tiers or its discriminator are others, which the workers do not have; take `rollout` out of the service "
        "to change over at once, or try the profile in a service of its own"
    )


def _made(profile: Profile, name: str) -> tuple[object, ...]:
    """Return what a tier's images depend on: all but what was measured of it."""
    tier = profile.tiers[name]
    return profile.resource.spec.discriminator, *(getattr(tier, field) for field in TierSettings.model_fields)


@lru_cache(maxsize=16)
def on_cascade(profile: Profile, light: str, heavy: str) -> Profile | None:
    """Return a profile with the rows of one cascade alone: the same object each time, to be a key; None without any."""
    rows = tuple(row for row in profile.configurations if (row.light, row.heavy) == (light, heavy))
    if not rows:
        return None
    spec = profile.resource.spec.model_copy(update={"configurations": rows})
    return replace(profile, resource=profile.resource.model_copy(update={"spec": spec}))


def canary_of(stable: Profile, candidate: Profile, share: float, plan: Plan) -> Canary:
    """Return what routers are told: `plan` is the candidate's, on the cascade in force."""
    return Canary(
        profile=candidate.hash,
        stable=stable.hash,
        share=share,
        light=plan.light,
        heavy=plan.heavy,
        direct_ratio=plan.direct_ratio,
        deferral_ratio=plan.deferral_ratio,
        difficulty=candidate.resource.spec.difficulty,
        confidence_quantiles=candidate.tiers[plan.light].confidence_quantiles,
        best_of_two=plan.best_of_two,
    )


def rollout_condition(rollout: Rollout, in_force: Profile, candidate: Profile | None) -> Condition:
    """Return whether the profile that a service names is in force."""
    if candidate is None:
        if rollout.verdict == "TakenOver" and rollout.candidate == in_force.hash:
            return condition(CONDITION, True, "TakenOver", f"profile {rollout.candidate} was {rollout.message}")
        return condition(CONDITION, True, "InForce", "the profile is in force")
    text = f"profile {candidate.hash}: {rollout.message}"
    if rollout.verdict == "RolledBack":
        return condition(CONDITION, False, rollout.reason, f"{text}; the old profile stays")
    return condition(CONDITION, None, rollout.reason, text)
