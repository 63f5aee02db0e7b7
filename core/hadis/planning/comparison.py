"""Whether one group of requests fared worse than another, by more than chance: the statistics of a canary. Pure.

Shares are compared by Newcombe's interval for the difference of two independent proportions (method 10 of "Interval
estimation for the difference between independent proportions", Statistics in Medicine 17, 1998, 873-890). It is made
of Wilson's intervals, so that it holds for few requests and for shares near 0, too. Means are compared by the normal
interval with each group's own variance (Welch, Biometrika 34, 1947). A group is worse where the whole interval lies
beyond a tolerance: what nobody would go back for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True)
class GroupCounts:
    """What routers counted of the requests that one profile routed."""

    images: int = 0
    """That were answered, refused or failed."""
    missed: int = 0
    """Of them, those that were not answered within the objective."""
    unanswered: int = 0
    """Of them, those that were refused or failed."""
    judged: int = 0
    """Light images with a confidence."""
    deferred: int = 0
    """Of them, those that the heavy tier should make again."""
    deferrals_planned: float = 0.0
    """How many that should have been: the sum of the plan's deferral ratios."""
    confidence: float = 0.0
    """Sum of the confidences."""
    confidence_squares: float = 0.0
    """Sum of their squares."""

    def __add__(self, other: GroupCounts) -> GroupCounts:
        """Return the counts of both."""
        return GroupCounts(*(getattr(self, name) + getattr(other, name) for name in self.__match_args__))

    @property
    def confidence_mean(self) -> float:
        """Mean confidence of the light images."""
        return self.confidence / self.judged

    @property
    def confidence_error(self) -> float:
        """Standard error of the mean."""
        variance = max(0.0, self.confidence_squares / self.judged - self.confidence_mean**2)
        return math.sqrt(variance / self.judged)

    @property
    def deferral_planned(self) -> float:
        """Mean deferral ratio of the plans."""
        return self.deferrals_planned / self.judged


def group_counts(sums: Mapping[str, float]) -> GroupCounts:
    """Return the counts that a router told by their names; a part is never more than what it is of."""
    images, judged = int(sums.get("images", 0)), int(sums.get("judged", 0))
    missed = min(images, int(sums.get("missed", 0)))
    return GroupCounts(
        images=images,
        missed=missed,
        unanswered=min(missed, int(sums.get("unanswered", 0))),
        judged=judged,
        deferred=min(judged, int(sums.get("deferred", 0))),
        deferrals_planned=min(judged, sums.get("deferrals_planned", 0.0)),
        confidence=min(judged, sums.get("confidence", 0.0)),
        confidence_squares=min(judged, sums.get("confidence_squares", 0.0)),
    )


@dataclass(frozen=True)
class Regression:
    """How a group is worse than the other: a reason for programs, and words."""

    reason: str
    message: str


MEASURES = 4
"""How many tests one comparison makes."""
_MISSED, _UNANSWERED, _DEFERRED, _CONFIDENCE = 0.01, 0.005, 0.05, 0.05
"""Tolerances."""
_LEAST_FOR_MEANS = 30
"""Light images of each group: of fewer, the normal interval promises too much."""


def regression(stable: GroupCounts, candidate: GroupCounts, risk: float) -> Regression | None:
    """Return in what the candidate is surely worse than the stable group, if it is in anything; both must have images.

    `risk` is the probability (0 to 1) of saying so of one that is alike, over all measures together (Bonferroni).
    """
    z = NormalDist().inv_cdf(1 - risk / MEASURES)
    return next(_regressions(stable, candidate, z), None)


def _regressions(stable: GroupCounts, candidate: GroupCounts, z: float) -> Iterator[Regression]:
    both = f"of {candidate.images} images by the new profile, of {stable.images} by the old one"
    mine, its = candidate.unanswered / candidate.images, stable.unanswered / stable.images
    if difference_over((candidate.unanswered, candidate.images), (stable.unanswered, stable.images), z) > _UNANSWERED:
        yield Regression("ErrorsRose", f"{mine:.2%} were refused or failed, against {its:.2%} ({both})")
    mine, its = candidate.missed / candidate.images, stable.missed / stable.images
    if difference_over((candidate.missed, candidate.images), (stable.missed, stable.images), z) > _MISSED:
        yield Regression("LatencyRose", f"{mine:.2%} missed the objective, against {its:.2%} ({both})")
    fewest = min(stable.judged, candidate.judged)
    if not fewest:
        return
    mine, its = candidate.deferred / candidate.judged, stable.deferred / stable.judged
    over = difference_over((candidate.deferred, candidate.judged), (stable.deferred, stable.judged), z)
    # Plans may defer different shares: what counts is how far each is off its own.
    if over - (candidate.deferral_planned - stable.deferral_planned) > _DEFERRED:
        planned = f"planned {candidate.deferral_planned:.1%} and {stable.deferral_planned:.1%}"
        yield Regression("DeferralRose", f"{mine:.1%} of the light images were deferred, against {its:.1%} ({planned})")
    fall = stable.confidence_mean - candidate.confidence_mean
    if (
        fewest >= _LEAST_FOR_MEANS
        and fall - z * math.hypot(stable.confidence_error, candidate.confidence_error) > _CONFIDENCE
    ):
        mine, its = candidate.confidence_mean, stable.confidence_mean
        yield Regression("ConfidenceFell", f"light images have a confidence of {mine:.3f}, against {its:.3f} ({both})")


def difference_over(first: tuple[int, int], second: tuple[int, int], z: float) -> float:
    """Return the lower end of Newcombe's interval for the first share less the second; each is (count, of how many)."""
    share, other = first[0] / first[1], second[0] / second[1]
    low, high = wilson(*first, z)[0], wilson(*second, z)[1]
    return share - other - math.hypot(share - low, high - other)


def wilson(count: int, of: int, z: float) -> tuple[float, float]:
    """Return Wilson's interval for a share (Journal of the American Statistical Association 22, 1927, 209-212)."""
    share, spread = count / of, z * z / of
    middle = share + spread / 2
    half = z * math.sqrt(share * (1 - share) / of + spread / (4 * of))
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))
