"""What ways of deferral reach at equal GPU seconds on the same prompts, beside one of them that they are compared with.

A front is made of every tier alone and of pairs of tiers by the discriminator; text difficulty is left out, which adds
little to it (bench/routing.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from hadis_profiler.offline.hull import Outcome, hulls_at
from hadis_profiler.offline.routing import RATIOS, Array, Reached, resampled, with_interval
from hadis_profiler.offline.routing_report import Row

COSTS = (0.010, 0.030, 0.080)
"""GPU seconds per request."""
RESAMPLES = 400


def signed(difference: Reached) -> str:
    """Return a difference with its interval."""
    return f"{difference.score:+.3f}, {difference.low:+.3f} to {difference.high:+.3f}"


def alone(seconds: float, scores: Array) -> Outcome:
    """Return the outcome of a tier that makes every image."""
    return np.full(len(scores), seconds), scores


def deferring(confidence: Array, kept: Outcome, deferred: Outcome, most: float = 1.0) -> Iterator[Outcome]:
    """Yield the outcome of each deferral ratio up to `most`, the least confident first."""
    order, n = np.argsort(confidence, kind="stable"), len(confidence)
    for ratio in RATIOS:
        if ratio <= most:
            is_deferred = np.isin(np.arange(n), order[: round(ratio * n)])
            cost, score = (np.where(is_deferred, *both) for both in zip(deferred, kept, strict=True))
            yield cost, score


def rows_of(ways: Mapping[str, Iterable[Outcome]], costs: Sequence[float] = COSTS) -> Iterator[Row]:
    """Yield a heading of costs, then a row per way: the score at each, and the difference from the first way."""
    known = {name: list(outcomes) for name, outcomes in ways.items()}
    n = len(next(iter(known.values()))[0][0])
    weights = resampled(n, RESAMPLES, np.random.default_rng(0))
    reached = {name: hulls_at(outcomes, weights, costs) for name, outcomes in known.items()}
    first, *others = reached
    yield "GPU seconds per request", *(f"{cost:.3f}" for cost in costs)
    yield first, *(f"{score:.3f}" for score in reached[first][0])
    for name in others:
        more = (reached[name] - reached[first]).T
        yield name, *(f"{s:.3f} ({signed(with_interval(d))})" for s, d in zip(reached[name][0], more, strict=True))
