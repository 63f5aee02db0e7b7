"""Quality as it is in service, beside what the profile predicts: sums over judged answers, and what follows. Pure.

Routers have a sample of their answers drawn again by the heavy tier and judge both with the discriminator. What is
compared is the mean confidence of the answers: the share that the discriminator takes to be good enough. It is not the
profile's distance, which takes thousands of images and a reference; but where it falls below what the profile's own
images come to, the distance is not what was measured either. What it is by the profile, `expected_confidence` says.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import zip_longest

import numpy as np

from hadis.api.conditions import Condition, condition
from hadis.planning.expected_confidence import Range, expected_confidence
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile, quantile

CONDITION = "QualityAsPredicted"
LEAST_IMAGES = 50
"""Judged answers from which on something is said."""
LEAST_PROMPTS = 200
TOLERANCE = 0.03
"""By so much the mean confidence may be below its prediction: it is about what profiles differ by from run to run."""
_Z = 2.576
"""Of a 99% interval: it is looked at every few seconds."""
_KOLMOGOROV = 1.63
"""Over the root of n: what the largest distance of n values' distribution from their own exceeds once in 100."""
_PROMPT_TOLERANCE = 0.1
_DECILES = 10


@dataclass(frozen=True)
class WatchSums:
    """Sums over the answers that were judged lately; those of several routers can be added."""

    images: float = 0.0
    answered: float = 0.0
    """Of the confidences of the answers."""
    answered_squares: float = 0.0
    low: float = 0.0
    """Of the least mean confidence that the plan's configuration has by the profile."""
    high: float = 0.0
    """Of the greatest."""
    heavy: float = 0.0
    """Of the confidences of the heavy tier's images."""
    heavy_squares: float = 0.0
    heavy_profiled: float = 0.0
    """Of the heavy tier's mean confidence by the profile."""
    difficulties: tuple[float, ...] = ()
    """Counts of all prompts by `difficulty_edges`."""

    def __add__(self, other: WatchSums) -> WatchSums:
        """Return the sums of both."""
        names = [field.name for field in fields(self) if field.name != "difficulties"]
        counts = zip_longest(self.difficulties, other.difficulties, fillvalue=0.0)
        return WatchSums(
            **{name: getattr(self, name) + getattr(other, name) for name in names},
            difficulties=tuple(mine + its for mine, its in counts),
        )


@dataclass(frozen=True)
class LiveQuality:
    """What the sums say; each is a mean confidence."""

    mean: float
    interval: Range
    """99%."""
    predicted: Range
    heavy: Range
    """Of the heavy tier's own images: 99%."""
    heavy_profiled: float
    images: int

    def __str__(self) -> str:
        """Return it in words."""
        return (
            f"{self.mean:.3f} of {self.images} answers are good enough by the discriminator ({self.interval}), "
            f"predicted {self.predicted}"
        )


def watch_sums(document: Mapping[str, float]) -> WatchSums:
    """Return the sums that a router told by their names; unknown names are ignored. See `named_sums`."""
    counts = {int(name[1:]): value for name, value in document.items() if name[:1] == "d" and name[1:].isdecimal()}
    known = {field.name: document.get(field.name, 0.0) for field in fields(WatchSums) if field.name != "difficulties"}
    return WatchSums(**known, difficulties=tuple(counts.get(i, 0.0) for i in range(min(_DECILES, len(counts)))))


def named_sums(sums: WatchSums) -> dict[str, float]:
    """Return sums by their names; the counts of difficulties are d0, d1, ..."""
    named = {field.name: getattr(sums, field.name) for field in fields(sums) if field.name != "difficulties"}
    return named | {f"d{i}": count for i, count in enumerate(sums.difficulties)}


def difficulty_edges(quantiles: Sequence[float]) -> tuple[float, ...]:
    """Return the values, rising, that prompts' difficulties are counted between: the profile's deciles, each once."""
    return tuple(sorted({quantile(tuple(quantiles), i / _DECILES) for i in range(1, _DECILES)}))


def live_quality(sums: WatchSums) -> LiveQuality | None:
    """Return the live quality; None without any image."""
    if sums.images < 1:
        return None
    return LiveQuality(
        mean=sums.answered / sums.images,
        interval=_interval(sums.images, sums.answered, sums.answered_squares),
        predicted=Range(sums.low / sums.images, sums.high / sums.images),
        heavy=_interval(sums.images, sums.heavy, sums.heavy_squares),
        heavy_profiled=sums.heavy_profiled / sums.images,
        images=int(sums.images),
    )


def prompt_drift(sums: WatchSums, quantiles: Sequence[float]) -> float | None:
    """Return by how much (0 to 1) the prompts' difficulties are distributed otherwise than the profile's.

    It is the largest distance of the two distributions (Kolmogorov-Smirnov) at the profile's deciles; None where it is
    within a tolerance, or may be chance.
    """
    count, edges = sum(sums.difficulties), difficulty_edges(quantiles)
    if count < LEAST_PROMPTS or len(sums.difficulties) != len(edges) + 1:
        return None
    below = np.cumsum(sums.difficulties)[:-1] / count
    distance = max(abs(share - _share_at_most(quantiles, edge)) for share, edge in zip(below, edges, strict=True))
    return float(distance) if distance - _KOLMOGOROV / math.sqrt(count) > _PROMPT_TOLERANCE else None


def quality_condition(profile: Profile, plan: Plan | None, sums: WatchSums | None, before: bool | None) -> Condition:
    """Return whether the quality is as predicted; `before` is what was said last, None for nothing.

    Between what is surely worse and what looks as predicted nothing changes.
    """
    if plan is not None and expected_confidence(profile, plan) is None:
        text = f"the profile has no confidences of {plan.light} or {plan.heavy}; profile them again"
        return condition(CONDITION, None, "NotProfiled", text)
    live = live_quality(sums) if sums is not None else None
    if sums is None or live is None or live.images < LEAST_IMAGES:
        count = 0 if live is None else live.images
        text = f"{count} of {LEAST_IMAGES} answers are judged that must be; they are while workers have nothing to do"
        return condition(CONDITION, None, "TooFewImages", text)
    drift = prompt_drift(sums, profile.resource.spec.difficulty.quantiles)
    as_predicted = live.mean >= live.predicted.low - TOLERANCE
    worse = live.interval.high < live.predicted.low - TOLERANCE
    if worse or (before is False and not as_predicted):
        return condition(CONDITION, False, *_why_worse(live, drift))
    if as_predicted or before:
        moved = "" if drift is None else f"; {_prompts_differ(drift)}, but quality holds"
        return condition(CONDITION, True, "AsPredicted", f"{live}{moved}")
    return condition(CONDITION, None, "NotSure", f"{live}: more answers must be judged")


def _why_worse(live: LiveQuality, drift: float | None) -> tuple[str, str]:
    if drift is not None:
        return "PromptsDiffer", f"{live}; {_prompts_differ(drift)}: profile these (hadis profile from-traffic)"
    if live.heavy.high < live.heavy_profiled - TOLERANCE:
        text = f"the heavy tier's own images have {live.heavy}, profiled {live.heavy_profiled:.3f}"
        return "HeavyTierWorse", f"{live}; {text}: look at what changed in models, workers or prompts; profile again"
    return "AnswersWorse", f"{live}, though the heavy tier is as profiled: profile again, with prompts as they come"


def _prompts_differ(drift: float) -> str:
    return f"the prompts' difficulties are not the profile's (by {drift:.0%})"


def _interval(count: float, total: float, squares: float) -> Range:
    """Return the 99% interval of a mean of values from 0 to 1.

    The variance is that of the values and one 0 and one 1 besides, so that it is none for no number of equal values.
    """
    mean, n = total / count, count + 2
    variance = max(0.0, (squares + 1) / n - ((total + 1) / n) ** 2)
    half = _Z * math.sqrt(variance / count)
    return Range(max(0.0, mean - half), min(1.0, mean + half))


def _share_at_most(quantiles: Sequence[float], value: float) -> float:
    """Return the share of the values with these quantiles, linear between them, that are `value` or less."""
    last, right = len(quantiles) - 1, bisect_right(quantiles, value) - 1
    if right < 0:
        return 0.0
    if right >= last:
        return 1.0
    low, high = quantiles[right], quantiles[right + 1]
    return (right + (value - low) / (high - low)) / last
