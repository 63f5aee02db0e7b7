"""Thresholds that keep the plan's ratios on live traffic.

The profile's quantiles were measured on other prompts than those that arrive, so a fixed threshold would send
another share to the heavy tier than the plan expects. Here each decision looks at the rank of a value among the
recent ones (a sliding window); until the window has TRUSTED values, the profile's quantiles are mixed in.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Mapping, Sequence

WINDOW = 500
"""Live values that are remembered."""
TRUSTED = 200
"""Live values after which the profile's quantiles no longer count."""


class TopShare:
    """Picks the given share of a stream's values, the greatest ones, as they come.

    With a share `above` of the values over it and a share `equal` of values like it, a value is picked with weight
    (ratio - above) / equal, clipped to 0..1. A weight between 0 and 1 is spread evenly over equal values (error
    diffusion), so that a stream with many ties, such as one prompt over and over, keeps the ratio too.
    """

    def __init__(self, prior: Sequence[float]) -> None:
        """Start from evenly spaced quantiles (rising; may be empty)."""
        self._prior = list(prior)
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []
        self._credit = 0.5

    def __len__(self) -> int:
        """Return the number of live values in the window."""
        return len(self._recent)

    def decide(self, value: float, ratio: float) -> bool:
        """Return whether `value` is in the top `ratio` (0 to 1), and learn it."""
        above, equal = self._rank(value)
        self._learn(value)
        if ratio <= 0 or above >= ratio:
            return False
        weight = 1.0 if ratio >= above + equal else (ratio - above) / equal
        if weight >= 1:
            return True
        self._credit += weight
        if self._credit >= 1:
            self._credit -= 1
            return True
        return False

    def threshold(self, ratio: float) -> float | None:
        """Return the value over which the top `ratio` lies now, for display; None without any value."""
        values = self._sorted if len(self._sorted) >= TRUSTED or not self._prior else self._prior
        if not values or ratio <= 0:
            return None
        return values[min(len(values) - 1, int((1 - min(ratio, 1)) * len(values)))]

    def keep_latest(self, count: int) -> None:
        """Forget all but the latest `count` values."""
        self._recent = deque(list(self._recent)[-count:])
        self._sorted = sorted(self._recent)

    def _learn(self, value: float) -> None:
        self._recent.append(value)
        insort(self._sorted, value)
        if len(self._recent) > WINDOW:
            del self._sorted[bisect_left(self._sorted, self._recent.popleft())]

    def _rank(self, value: float) -> tuple[float, float]:
        """Return the shares (above, equal) of the values over this one and like it."""
        n = len(self._sorted)
        live_weight = min(1.0, n / TRUSTED) if self._prior else 1.0
        if n:
            right = bisect_right(self._sorted, value)
            live = ((n - right) / n, (right - bisect_left(self._sorted, value)) / n)
        else:
            live = (1.0, 0.0)
        if live_weight >= 1:
            return live
        prior, prior_weight = _prior_rank(self._prior, value), 1 - live_weight
        return live_weight * live[0] + prior_weight * prior[0], live_weight * live[1] + prior_weight * prior[1]


def _prior_rank(quantiles: list[float], value: float) -> tuple[float, float]:
    """Return the shares (above, equal) by evenly spaced, rising quantiles, linear in between."""
    last = len(quantiles) - 1
    if value < quantiles[0]:
        return 1.0, 0.0
    if value > quantiles[last]:
        return 0.0, 0.0
    left, right = bisect_left(quantiles, value), bisect_right(quantiles, value) - 1
    if right >= left:
        return 1 - right / max(last, 1), (right - left) / max(last, 1)
    low, high = quantiles[right], quantiles[right + 1]
    return 1 - (right + (value - low) / (high - low)) / last, 0.0


class ThresholdTracker:
    """Decides which prompts go straight to the heavy tier and which light images are deferred to it."""

    def __init__(self, difficulty: Sequence[float], confidence: Mapping[str, Sequence[float]]) -> None:
        """Start from the quantiles of difficulties and, by tier, of confidences that were profiled."""
        self._difficulty = TopShare(difficulty)
        # The least confident images defer, so these are streams of negated confidences.
        self._doubt = {name: TopShare([-q for q in reversed(quantiles)]) for name, quantiles in confidence.items()}
        self._direct_ratio: float | None = None

    def direct(self, difficulty: float, direct_ratio: float) -> bool:
        """Return whether a prompt is among the hardest `direct_ratio`."""
        if self._direct_ratio is not None and abs(self._direct_ratio - direct_ratio) > 1e-9:
            self._forget_doubt()
        self._direct_ratio = direct_ratio
        return self._difficulty.decide(difficulty, direct_ratio)

    def defer(self, light: str, confidence: float, deferral_ratio: float) -> bool:
        """Return whether a light image is among the least confident `deferral_ratio` of its tier."""
        return self._doubt[light].decide(-confidence, deferral_ratio)

    def current(self, light: str, direct_ratio: float, deferral_ratio: float) -> tuple[float | None, float | None]:
        """Return the difficulty and confidence thresholds as they are now."""
        doubt = self._doubt[light].threshold(deferral_ratio)
        return self._difficulty.threshold(direct_ratio), None if doubt is None else -doubt

    def _forget_doubt(self) -> None:
        # With another direct ratio, other prompts reach the light tier: their confidences are distributed differently.
        for doubt in self._doubt.values():
            doubt.keep_latest(TRUSTED // 2)
