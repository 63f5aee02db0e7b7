"""The plan: which configuration is in force, and how many workers run each tier at which batch size.

Pure values; the file in the run folder, `status.plan` in Kubernetes and the router's `/v1/plan` all hold `to_dict`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

_MOVED = 0.1
"""A ratio that moved by this much is a change worth telling."""


@dataclass(frozen=True)
class TierPlan:
    """Workers that may run a tier at one time, and the largest batch it takes."""

    tier: str
    count: int
    batch: int


@dataclass(frozen=True)
class Plan:
    """A configuration in force. A single tier is a plan whose light and heavy are the same and whose ratios are 0."""

    light: str
    heavy: str
    direct_ratio: float
    deferral_ratio: float
    tiers: tuple[TierPlan, ...]
    demand_rps: float
    quality: float
    light_latency_s: float
    """Predicted latency of a request that the light tier answers, at the asked attainment."""
    heavy_latency_s: float
    """Predicted latency of the slowest path (deferred), at the asked attainment."""
    feasible: bool = True
    reason: str = ""
    """Why this plan, in words a person can act on."""
    generation: int = 0

    @property
    def gpus(self) -> int:
        """GPUs that the plan uses in all."""
        return sum(tier.count for tier in self.tiers)

    def tier(self, name: str) -> TierPlan | None:
        """Return the part for one tier, if the plan uses it."""
        return next((tier for tier in self.tiers if tier.tier == name), None)

    def numbered(self, generation: int) -> Plan:
        """Return the same plan with a generation."""
        return replace(self, generation=generation)

    def routes_like(self, other: Plan) -> bool:
        """Return whether both route and batch alike (predictions and reasons aside)."""
        return (self.light, self.heavy, self.direct_ratio, self.deferral_ratio, self.tiers) == (
            other.light,
            other.heavy,
            other.direct_ratio,
            other.deferral_ratio,
            other.tiers,
        )

    def worth_telling(self, other: Plan) -> bool:
        """Return whether a person would call this another plan than `other`: ratios follow the load all the time."""
        if (self.light, self.heavy, self.feasible) != (other.light, other.heavy, other.feasible):
            return True
        moves = self.direct_ratio - other.direct_ratio, self.deferral_ratio - other.deferral_ratio
        return max(map(abs, moves)) >= _MOVED

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON data."""
        return asdict(self)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Plan:
        """Return the plan of `to_dict`; raise ValueError for data of another form."""
        try:
            return Plan(**{**data, "tiers": tuple(TierPlan(**tier) for tier in data["tiers"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is no plan: {error}") from None
