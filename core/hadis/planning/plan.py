"""The plan: which configuration is in force, and how many workers run each tier at which batch size.

`Plan` is the only definition of these fields: the planner makes it, `status.plan` in Kubernetes and the run folder's
file hold it as it is, and the CustomResourceDefinition is generated from it.
"""

from __future__ import annotations

from dataclasses import replace

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass

_NOTABLE_STEP = 0.1
"""A ratio that moved by this much is a change that people are told of."""
_DOCUMENT = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, config=_DOCUMENT)
class TierPlan:
    """One tier in a plan."""

    tier: str = Field(description="Name of the tier.")
    count: int = Field(description="Workers that may run the tier at one time.")
    batch: int = Field(description="Largest batch.")
    remote: bool = Field(
        default=False, description="Whether an endpoint makes the tier, so that its workers take no GPU."
    )


@dataclass(frozen=True, config=_DOCUMENT)
class Plan:
    """A configuration in force. A single tier is a plan whose light and heavy are the same and whose ratios are 0."""

    light: str = Field(description="The light tier.")
    heavy: str = Field(description="The heavy tier; the light one itself where a single tier serves.")
    direct_ratio: float = Field(description="Share of the prompts, the hardest ones, that go straight to heavy.")
    deferral_ratio: float = Field(description="Share of the light images that the heavy tier makes again.")
    tiers: tuple[TierPlan, ...] = Field(description="Workers and batch of each tier.")
    demand_rps: float = Field(description="Demand that the plan is for, requests per second.")
    quality: float = Field(description="Predicted distance; lower is better.")
    light_latency_s: float = Field(
        description="Predicted latency of a request that the light tier answers, at the objective's attainment."
    )
    heavy_latency_s: float = Field(
        description="Predicted latency of the slowest path (deferred), at the objective's attainment."
    )
    feasible: bool = Field(default=True, description="Whether the plan keeps up with the demand within the objective.")
    reason: str = Field(default="", description="Why this plan, in words a person can act on.")
    generation: int = Field(default=0, description="Grows with each plan that routes differently.")
    best_of_two: bool = Field(
        default=False,
        description="Whether heavy images of deferred requests are judged as well, and the more confident is kept.",
    )
    joules_per_image: float | None = Field(
        default=None, description="Predicted energy per image, where the profile has that of batches."
    )
    money_per_image: float | None = Field(
        default=None,
        description="Predicted money per image, with `objective.gpuPrice`: for the time that GPUs work on it.",
    )

    @property
    def gpus(self) -> int:
        """GPUs that the plan uses in all."""
        return sum(tier.count for tier in self.tiers if not tier.remote)

    def tier(self, name: str) -> TierPlan | None:
        """Return the part for one tier, if the plan uses it."""
        for tier in self.tiers:
            if tier.tier == name:
                return tier
        return None

    def judges(self, tier: str) -> bool:
        """Return whether the discriminator looks at a tier's images: where any is deferred, at all light ones.

        Where the better of two is kept, it looks at the heavy one of a deferred request as well.
        """
        if self.light == self.heavy or not self.deferral_ratio:
            return False
        return tier == self.light or (self.best_of_two and tier == self.heavy)

    def numbered(self, generation: int) -> Plan:
        """Return the same plan with a generation."""
        return replace(self, generation=generation)

    def routes_like(self, other: Plan) -> bool:
        """Return whether both route and batch alike (predictions and reasons aside)."""
        mine, its = (
            (plan.light, plan.heavy, plan.direct_ratio, plan.deferral_ratio, plan.best_of_two, plan.tiers)
            for plan in (self, other)
        )
        return mine == its

    def differs_notably(self, other: Plan) -> bool:
        """Return whether a person would call this another plan than `other`: ratios follow the load all the time."""
        if (self.light, self.heavy, self.feasible) != (other.light, other.heavy, other.feasible):
            return True
        steps = self.direct_ratio - other.direct_ratio, self.deferral_ratio - other.deferral_ratio
        return max(map(abs, steps)) >= _NOTABLE_STEP

    @property
    def summary(self) -> str:
        """The plan's routing in a few words."""
        if self.light == self.heavy:
            return f"{self.light} alone"
        better = ", the better of two" if self.best_of_two and self.deferral_ratio else ""
        return f"direct {self.direct_ratio:.0%}, deferral {self.deferral_ratio:.0%}{better}"

    @property
    def headline(self) -> str:
        """The plan's tiers and routing in one line."""
        return self.summary if self.light == self.heavy else f"{self.light} + {self.heavy}, {self.summary}"


def rounded(number: float) -> str:
    """Return a number of a plan to three digits for people to read: 12.3, 50,000."""
    return f"{float(f'{number:.3g}'):,g}"
