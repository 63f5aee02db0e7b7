"""What is optimised within the SLO: how rows are ordered, which are acceptable, which of two is the better plan.

Solver, routing and scaling know a `Criterion` and nothing of which one it is. Adding an objective takes a class and an
entry of `CRITERIA` here, and its name in `hadis.api.resources.Optimize`, which is the CRD's enum.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hadis.api.resources import Objective, Optimize
from hadis.planning.queueing import Array
from hadis.planning.table import Table


@dataclass(frozen=True)
class Candidate:
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

    def better(self, new: Candidate, current: Candidate, gain: float) -> bool:
        """Return whether `new` is worth leaving `current` for, which takes an improvement by a share `gain`."""
        if new.acceptable != current.acceptable:
            return new.acceptable
        return new.value <= current.value * (1 - gain)

    @abstractmethod
    def reason(self, *, acceptable: bool) -> str:
        """Return why the first row of the order was chosen, in words for people."""


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
class Cost(Criterion):
    """The fewest GPUs that reach a quality."""

    quality: float
    minimises_gpus: ClassVar[bool] = True

    def values(self, table: Table) -> Array:
        """Order by quality: GPUs that are there cost the same whichever row runs on them."""
        return table.quality

    def acceptable(self, table: Table) -> NDArray[np.bool_]:
        """Accept what reaches the quality."""
        return table.quality <= self.quality

    def better(self, new: Candidate, current: Candidate, gain: float) -> bool:
        """Leave a row for fewer GPUs, or for what is nearer to the quality, not for a quality better than asked."""
        if not current.acceptable and new.value < current.value:
            return True
        return new.gpus() < current.gpus()

    def reason(self, *, acceptable: bool) -> str:
        """Say whether the quality is reached."""
        if acceptable:
            return f"quality {self.quality:g} with the fewest GPUs"
        return f"quality {self.quality:g} cannot be reached; the best"


CRITERIA: dict[Optimize, Callable[[Objective], Criterion]] = {
    Optimize.QUALITY: lambda objective: Quality(),
    Optimize.COST: lambda objective: Cost(objective.quality or math.inf),
}
"""What makes the criterion of each objective of the API."""


def criterion(objective: Objective) -> Criterion:
    """Return what plans are judged by under an objective."""
    return CRITERIA[objective.optimize](objective)
