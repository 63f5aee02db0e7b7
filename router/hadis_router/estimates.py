"""How long a batch takes: the profile's latency, corrected by the batches that ran.

Admission and deferral ask "would it be late?". Where the profile was measured on a faster or a busier machine, they
must not be wrong for ever, so one factor per tier follows the measured times.
"""

from __future__ import annotations

from hadis.planning.profile import Profile

_WEIGHT = 0.1
"""Of the newest batch, in the moving average of the factor."""
_LEAST, _MOST = 0.1, 10.0
"""One batch that took more or less than this many times the profile's latency counts as this."""


class Estimates:
    """Latencies by tier and batch size."""

    def __init__(self, profile: Profile) -> None:
        """Start from the profile's latencies."""
        self._profile = profile
        self._factor = dict.fromkeys(profile.tiers, 1.0)
        self._cache: dict[tuple[str, int, bool], float] = {}

    def latency_s(self, tier: str, batch: int, discriminated: bool = False) -> float:
        """Return the expected seconds of a batch; `discriminated`: with the discriminator's."""
        return self._profiled(tier, batch, discriminated) * self._factor[tier]

    def learn(self, tier: str, batch: int, discriminated: bool, seconds: float) -> None:
        """Learn from a finished batch that took `seconds`."""
        ratio = min(_MOST, max(_LEAST, seconds / self._profiled(tier, batch, discriminated)))
        self._factor[tier] += _WEIGHT * (ratio - self._factor[tier])

    def _profiled(self, tier: str, batch: int, discriminated: bool) -> float:
        key = (tier, batch, discriminated)
        if key not in self._cache:
            self._cache[key] = self._profile.latency_s(tier, batch, discriminated)
        return self._cache[key]
