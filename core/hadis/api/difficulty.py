"""What was fitted of prompts' difficulty: the weights of the features that the router reads from their text."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hadis.api.fields import Fields, Positive
from hadis.api.rules import Rule

Feature = Literal[
    "prompt_length",
    "token_rarity",
    "num_objects",
    "abstractness",
    "attribute_density",
    "spatial_relations",
    "action_verbs",
    "named_entities",
]
"""The text features that the router reads, in its order."""


class Difficulty(Fields):
    """The router's difficulty score: z-scored text features times weights."""

    rules = (
        Rule(
            " && ".join(f"size(self.{name}) == size(self.features)" for name in ("mean", "std", "weights")),
            lambda score: len(score.mean) == len(score.std) == len(score.weights) == len(score.features),
            "features, mean, std and weights must be of one length",
        ),
        Rule(
            "self.quantiles.isSorted()",
            lambda score: list(score.quantiles) == sorted(score.quantiles),
            "quantiles: must not fall",
        ),
    )
    features: tuple[Feature, ...] = Field(min_length=1, max_length=16, description="Names of the text features.")
    mean: tuple[float, ...] = Field(description="Mean of each feature over the profiled prompts.")
    std: tuple[Positive, ...] = Field(description="Standard deviation of each feature over the profiled prompts.")
    weights: tuple[float, ...] = Field(description="Weight of each z-scored feature in the score.")
    quantiles: tuple[float, ...] = Field(
        min_length=2, max_length=1001, description="Evenly spaced quantiles (0 to 1) of the score."
    )
