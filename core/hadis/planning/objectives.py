"""What is optimised within the SLO: how rows are ordered, which are acceptable, which of two is the better plan.

Solver, routing, scaling and conditions know a `Criterion` and nothing of which one it is. Adding an objective takes a
class and an entry of `CRITERIA` here, and its name in `hadis.api.optimize`, which is the CRD's enum.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hadis.api.optimize import Optimize
from hadis.api.resources import Objective
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.planning.queueing import Array
from hadis.planning.snapshot import Problem
from hadis.planning.table import Table


@dataclass(frozen=True)
class FeasibleRow:
    """A feasible row, to be compared with another."""

    value: float
    acceptable: bool
    gpus: Callable[[], int]
    """The fewest GPUs on which it is feasible; asked for only where it matters, for it takes a search."""


class Criterion(ABC):
    """What makes one row, or one plan, better than another."""

    minimises_gpus: ClassVar[bool] = False
    """Whether an acceptable row on fewer GPUs is better than any row on more."""

    @abstractmethod
    def values(self, table: Table) -> Array:
        """Return a value by row that orders rows on the same GPUs: lower is better.

        All are finite and over 0, for they are compared by shares. Each acceptable row comes before all others.
        """

    def acceptable(self, table: Table) -> NDArray[np.bool_]:
        """Return which rows reach what is asked for."""
        return np.ones(len(table.quality), bool)

    def better(self, new: FeasibleRow, current: FeasibleRow, gain: float) -> bool:
        """Return whether `new` is worth leaving `current` for, which takes an improvement by a share `gain`."""
        if new.acceptable != current.acceptable:
            return new.acceptable
        return new.value <= current.value * (1 - gain)

    @abstractmethod
    def reason(self, *, acceptable: bool) -> str:
        """Return why the first row of the order was chosen, in words for people."""

    def routing_reason(self, *, acceptable: bool) -> str:
        """Return the same of a row for GPUs that are there, however many."""
        return self.reason(acceptable=acceptable)

    def shortfall(self, plan: Plan, gpus: int) -> Problem | None:
        """Return what the best feasible plan on a number of GPUs lacks of what is asked for; None where nothing."""
        return None

    def refusal(self, profile: Profile) -> Problem | None:
        """Return why nothing can be planned with a profile under this objective; None where it can."""
        return None


@dataclass(frozen=True)
class Quality(Criterion):
    """The best quality that the GPUs allow."""

    def values(self, table: Table) -> Array:
        """Order by quality."""
        return table.quality

    def reason(self, *, acceptable: bool) -> str:
        """Say so; all rows are acceptable."""
        return "best quality"


@dataclass(frozen=True)
class ReachingQuality(Criterion):
    """Of what reaches a quality something is the least; the rest comes behind it, by quality."""

    quality: float

    def acceptable(self, table: Table) -> NDArray[np.bool_]:
        """Accept what reaches the quality."""
        return table.quality <= self.quality

    def shortfall(self, plan: Plan, gpus: int) -> Problem | None:
        """Say which quality is reached in place of the one that is asked for."""
        if plan.quality <= self.quality:
            return None
        text = f"objective.quality {self.quality:g} is not reached; the best on {gpus} GPUs is {plan.quality:.4g}"
        return Problem("QualityNotReached", text)

    def reason(self, *, acceptable: bool) -> str:
        """Say whether the quality is reached, and what is the least."""
        if acceptable:
            return f"quality {self.quality:g} with the {self.least}"
        return f"quality {self.quality:g} cannot be reached; the best"

    @property
    @abstractmethod
    def least(self) -> str:
        """What is the least, in words."""


@dataclass(frozen=True)
class Cost(ReachingQuality):
    """The fewest GPUs that reach a quality."""

    minimises_gpus: ClassVar[bool] = True

    @property
    def least(self) -> str:
        """Say so."""
        return "fewest GPUs"

    def values(self, table: Table) -> Array:
        """Order by quality: GPUs that are there cost the same whichever row runs on them."""
        return table.quality

    def better(self, new: FeasibleRow, current: FeasibleRow, gain: float) -> bool:
        """Leave a row for fewer GPUs, or for what is nearer to the quality, not for a quality better than asked."""
        if not current.acceptable and new.value < current.value:
            return True
        return new.gpus() < current.gpus()

    def routing_reason(self, *, acceptable: bool) -> str:
        """Say by what rows are ordered."""
        return "best quality"


@dataclass(frozen=True)
class Money(Cost):
    """The least money that reaches a quality: of GPUs at one price that is the fewest of them."""

    @property
    def least(self) -> str:
        """Say so."""
        return "least money"

    def refusal(self, profile: Profile) -> Problem | None:
        """Refuse tiers that endpoints make: what an image costs there is not known, and would count as nothing."""
        if not profile.slots:
            return None
        tiers = ", ".join(profile.slots)
        text = f"optimize Money knows the price of GPUs, not of what the endpoints of {tiers} make; write Cost"
        return Problem("PriceUnknown", text)


@dataclass(frozen=True)
class Energy(ReachingQuality):
    """The least energy per image that reaches a quality: that of its batches, not what idle GPUs draw."""

    @property
    def least(self) -> str:
        """Say so."""
        return "least energy"

    def values(self, table: Table) -> Array:
        """Order by energy what reaches the quality, and the rest behind it by quality."""
        good = self.acceptable(table)
        # Values are compared by shares: in a sum of joules and quality, a much better quality would be lost.
        most = table.energy_j[good].max(initial=1.0)
        return np.where(good, table.energy_j, most * (1 + table.quality / self.quality))

    def acceptable(self, table: Table) -> NDArray[np.bool_]:
        """Accept what reaches the quality; a row without an energy has a tier that is too slow for the SLO."""
        return super().acceptable(table) & np.isfinite(table.energy_j)

    def refusal(self, profile: Profile) -> Problem | None:
        """Refuse a profile with batches whose energy is not known."""
        unknown = [
            name
            for name in profile.tiers
            if not all(math.isfinite(profile.energy_j(name, batch)) for batch in profile.batch_sizes(name))
        ]
        if not unknown:
            return None
        text = (
            f"optimize Energy needs the joules of each batch, which the profile does not have of {', '.join(unknown)}"
        )
        return Problem("EnergyUnknown", f"{text}; measure on a GPU whose driver tells them, or write Cost")


CRITERIA: dict[Optimize, Callable[[Objective], Criterion]] = {
    Optimize.QUALITY: lambda objective: Quality(),
    Optimize.COST: lambda objective: Cost(objective.quality or math.inf),
    Optimize.ENERGY: lambda objective: Energy(objective.quality or math.inf),
    Optimize.MONEY: lambda objective: Money(objective.quality or math.inf),
}
"""What makes the criterion of each objective of the API."""


def criterion(objective: Objective) -> Criterion:
    """Return what plans are judged by under an objective."""
    return CRITERIA[objective.optimize](objective)
