"""The compact form of a profile's table: one grid of numbers per cascade, in place of one document per configuration.

An API server keeps objects of up to 1.5 MiB: 13,000 rows as documents, but the grids of 40 tiers' 780 cascades. Costs
are not in a grid, for they follow from three numbers: see `hadis.api.shares`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

from pydantic import Field

from hadis.api.fields import Fields, Name, Positive, Share
from hadis.api.rules import Rule
from hadis.api.shares import cascade_gpu_s, judged_share

MOST_CELLS = 100_000
"""Of all grids together: more would not fit into an object."""
_MOST_STEPS = 101
_COST_DIGITS = 8
_COST_CLOSE = 5e-8
"""Up to which a measured cost and the one of the grid are the same number, rounded at different places."""
Row = dict[str, Any]
"""A configuration as a document."""


def _rises(name: str, attribute: str) -> Rule:
    return Rule(
        f"self.{name}.isSorted()",
        lambda grid: list(getattr(grid, attribute)) == sorted(set(getattr(grid, attribute))),
        f"{name}: must rise, each named once",
    )


class Costs(NamedTuple):
    """GPU seconds per image of the two tiers, and per image that is judged."""

    light: float
    heavy: float
    judge: float


class Cascade(Fields):
    """The measured configurations of a light and a heavy tier: a grid of the two ratios."""

    rules = (
        _rises("directRatios", "direct_ratios"),
        _rises("deferralRatios", "deferral_ratios"),
        Rule(
            "size(self.quality) == size(self.directRatios) * size(self.deferralRatios)",
            lambda grid: len(grid.quality) == grid.cells,
            "quality: write one number for each pair of a direct and a deferral ratio",
        ),
        Rule(
            "!has(self.measures) || self.measures.all(name, size(self.measures[name]) == size(self.quality))",
            lambda grid: all(len(numbers) == grid.cells for numbers in grid.measures.values()),
            "measures: each has as many numbers as quality",
        ),
        Rule(
            "self.light != self.heavy || (self.directRatios == [0.0] && self.deferralRatios == [0.0])",
            lambda grid: grid.light != grid.heavy or grid.direct_ratios == grid.deferral_ratios == (0.0,),
            "directRatios, deferralRatios: a single tier has ratios of 0",
        ),
    )
    light: Name = Field(description="Light tier of the cascade; for a single tier the same as the heavy one.")
    heavy: Name = Field(description="Heavy tier of the cascade.")
    direct_ratios: tuple[Share, ...] = Field(min_length=1, max_length=_MOST_STEPS, description="Direct ratios, rising.")
    deferral_ratios: tuple[Share, ...] = Field(
        min_length=1, max_length=_MOST_STEPS, description="Deferral ratios, rising."
    )
    quality: tuple[Positive, ...] = Field(
        min_length=1,
        max_length=_MOST_STEPS**2,
        description="Measured distances: of the first direct ratio with each deferral ratio, and so on.",
    )
    best_of_two: bool = Field(
        default_factory=bool,
        description="Whether of a deferred request's two images the more confident one is the answer.",
    )
    light_cost: float = Field(ge=0, description="GPU seconds per image of the light tier.")
    heavy_cost: float = Field(ge=0, description="GPU seconds per image of the heavy tier.")
    judge_cost: float = Field(
        default_factory=float,
        ge=0,
        description="GPU seconds per image that the discriminator judges: each light one where any is deferred, with "
        "`bestOfTwo` each heavy one too.",
    )
    measures: dict[str, tuple[float, ...]] = Field(
        default_factory=dict,
        max_length=8,
        description="Other measures, as of configurations, in quality's order.",
    )

    @property
    def cells(self) -> int:
        """How many configurations the grid has."""
        return len(self.direct_ratios) * len(self.deferral_ratios)

    def rows(self) -> Iterator[Row]:
        """Yield each configuration as a document of Python names."""
        costs = Costs(self.light_cost, self.heavy_cost, self.judge_cost)
        for i, at in enumerate(itertools.product(self.direct_ratios, self.deferral_ratios)):
            yield {
                "light": self.light,
                "heavy": self.heavy,
                "direct_ratio": at[0],
                "deferral_ratio": at[1],
                "best_of_two": self.best_of_two,
                "quality": self.quality[i],
                "cost": round(cascade_gpu_s(*at, *costs, best_of_two=self.best_of_two), _COST_DIGITS),
                "measures": {name: numbers[i] for name, numbers in self.measures.items()},
            }

    @classmethod
    def of_rows(cls, rows: Sequence[Row]) -> Self | None:
        """Return the grid of one cascade's rows; None where they are none, or their costs follow from no three numbers.

        Measures that only some rows have are left out.
        """
        by_ratios = {(row["direct_ratio"], row["deferral_ratio"]): row for row in rows}
        direct, deferral = (tuple(sorted({at[i] for at in by_ratios})) for i in (0, 1))
        full = len(rows) == len(by_ratios) == len(direct) * len(deferral)
        costs = _costs(by_ratios)
        if not full or costs is None or max(len(direct), len(deferral)) > _MOST_STEPS:
            return None
        ordered = [by_ratios[at] for at in itertools.product(direct, deferral)]
        shared = [name for name in rows[0]["measures"] if all(name in row["measures"] for row in rows)]
        return cls(
            light=rows[0]["light"],
            heavy=rows[0]["heavy"],
            direct_ratios=direct,
            deferral_ratios=deferral,
            quality=tuple(row["quality"] for row in ordered),
            best_of_two=rows[0]["best_of_two"],
            light_cost=costs.light,
            heavy_cost=costs.heavy,
            judge_cost=costs.judge,
            measures={name: tuple(row["measures"][name] for row in ordered) for name in shared},
        )


def _costs(rows: dict[tuple[float, float], Row]) -> Costs | None:
    """Return the costs per image from which those of all rows follow; None where they do not."""
    light = rows.get((0.0, 0.0))
    heavy = next((row for (direct, _), row in sorted(rows.items()) if direct == 1.0), light if len(rows) == 1 else None)
    if light is None or heavy is None:
        return None
    best_of_two: bool = light["best_of_two"]
    costs = Costs(light["cost"], heavy["cost"], 0.0)
    most, at = max((judged_share(*at, best_of_two=best_of_two), at) for at in rows)
    if most:
        judge = (rows[at]["cost"] - cascade_gpu_s(*at, *costs)) / most
        costs = costs._replace(judge=judge if judge > _COST_CLOSE else 0.0)
    costs = Costs(*(round(cost, _COST_DIGITS) for cost in costs))  # as the rows say when read back
    near = all(
        abs(cascade_gpu_s(*at, *costs, best_of_two=best_of_two) - row["cost"]) <= _COST_CLOSE
        for at, row in rows.items()
    )
    return costs if near else None
