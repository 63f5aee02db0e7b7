"""What learning difficulty in service would bring: the example models' prompts, replayed in order, before and after.

A profile is fitted to some prompts; others come one by one. Each is scored by what was learned before it came, and
then gives its labels: the discriminator's confidence in its light image, or, if the profile's score sends it straight
to the heavy tier, none but for a share that is explored. The learner is fitted anew to all labels every REFIT prompts,
which is more than one with bounded memory can do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from hadis_profiler.offline.difficulty import Array, fit, rank_correlation
from hadis_profiler.offline.ngrams import Indices, regress, with_ngrams
from hadis_profiler.offline.routing import Judged, Way, gains
from hadis_profiler.offline.routing_report import Row
from hadis_router.difficulty.features import features
from hadis_router.difficulty.ngrams import ngrams

COSTS = (0.010, 0.015, 0.050)
REFIT = 25
DIRECT, DEFERRED, EXPLORED = 0.3, 0.3, 0.05
_FIRST = 50
"""Prompts after which something is learned."""


@dataclass(frozen=True)
class Replay:
    """Prompts (n) with what came out of the tiers, of which some were profiled and others come in order."""

    prompts: Sequence[str]
    judged: Judged
    profiled: Indices
    stream: Indices

    def rows(self, name: str) -> Iterator[Row]:
        """Yield a row per way to score: rank correlation with the gain, and the score that text alone reaches."""
        judged, texts = self.judged, np.stack([features(prompt) for prompt in self.prompts])
        gap = judged.scores[-1] - judged.scores[0]
        profile = with_ngrams(
            fit(texts, gap, self.profiled, self.stream), self.prompts, gap, self.profiled, self.stream
        )
        light, both = self._online(profile.by_features, profile.scores)
        known = {
            "the profile's text features": profile.by_features,
            "the profile's n-grams": profile.scores,
            "online, from light images": light,
            "online, from light and heavy images": both,
        }
        for way, scores in known.items():
            some = replace(
                judged,
                scores=judged.scores[:, self.stream],
                confidence=judged.confidence[:, self.stream],
                difficulty=scores[self.stream],
            )
            reached = (f"{gain.reached[Way.TEXT].score:.3f}" for gain in gains(some, COSTS, resamples=0))
            yield name, way, f"{rank_correlation(scores[self.stream], gap[self.stream]):.3f}", *reached

    def _online(self, by_features: Array, scores: Array) -> tuple[Array, Array]:
        """Return scores (n,) that are learned from light labels alone, and from heavy ones as well."""
        rng, grams = np.random.default_rng(0), [ngrams(prompt) for prompt in self.prompts]
        good, direct_over = self.judged.confidence, np.quantile(scores[self.profiled], 1 - DIRECT)
        defer_under = np.quantile(good[0, self.profiled], DEFERRED)
        direct = (scores > direct_over) & (rng.random(len(scores)) >= EXPLORED)
        heavy = direct | (good[0] < defer_under)
        from_light, from_both = by_features.copy(), by_features.copy()
        for start in range(_FIRST, len(self.stream), REFIT):
            past, coming = self.stream[:start], self.stream[start : start + REFIT]
            minus_light = regress(by_features, grams, -good[0], past[~direct[past]], coming)[1]
            plus_heavy = regress(by_features, grams, good[-1], past[heavy[past]], coming)[1]
            from_light[coming], from_both[coming] = minus_light[coming], (minus_light + plus_heavy)[coming]
        return from_light, from_both


def online_rows(prompts: Sequence[str], judged: Judged) -> Iterator[Row]:
    """Yield a table of what is learned on traffic like the profile's, and on traffic of more things per prompt."""
    yield "traffic", "scored by", "rank correlation with the gain", *(f"score at {cost:g} GPU s" for cost in COSTS)
    order = np.random.default_rng(0).permutation(len(prompts))
    half = len(order) // 2
    yield from Replay(prompts, judged, order[:half], order[half:]).rows("as profiled")
    few = np.array([prompt.count(" and ") < 2 for prompt in prompts])
    yield from Replay(prompts, judged, order[few[order]], order[~few[order]]).rows("more things than profiled")
