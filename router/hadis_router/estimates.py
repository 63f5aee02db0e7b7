"""How long a batch takes on this machine: the profile's latency, corrected by what is seen.

Admission and deferral ask "would it be late?"; a profile measured on another day or a busier machine must not make
them refuse or defer wrongly for ever, so a factor per tier follows the measured service times.
"""

from __future__ import annotations

from hadis.planning.profile import Profile

_WEIGHT = 0.1
_LEAST, _MOST = 0.1, 10.0


class Estimates:
    """Service times by tier and batch size."""

    def __init__(self, profile: Profile) -> None:
        """Start from the profile."""
        self._profile = profile
        self._factor = dict.fromkeys(profile.tiers, 1.0)
        self._known: dict[tuple[str, int, bool], float] = {}

    def latency_s(self, tier: str, batch: int, discriminated: bool = False) -> float:
        """Return the expected seconds of a batch."""
        return self._profiled(tier, batch, discriminated) * self._factor[tier]

    def saw(self, tier: str, batch: int, discriminated: bool, seconds: float) -> None:
        """Learn from a finished batch."""
        ratio = min(_MOST, max(_LEAST, seconds / self._profiled(tier, batch, discriminated)))
        self._factor[tier] += _WEIGHT * (ratio - self._factor[tier])

    def _profiled(self, tier: str, batch: int, discriminated: bool) -> float:
        key = (tier, batch, discriminated)
        if key not in self._known:
            self._known[key] = self._profile.latency_s(tier, batch, discriminated)
        return self._known[key]
