"""What was fitted of prompts' difficulty: the weights of what the router reads from their text.

Two scores may stand in a profile: one of eight text features, always, and one that reads hashed n-grams as well, where
the profiler saw that it predicts better. The version names how n-grams are hashed; a router that knows another way
scores by the features alone.
"""

from __future__ import annotations

import base64
import binascii
from array import array
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

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
NGRAM_VERSION = "crc32-1"
"""How this release hashes n-grams: `hadis_router.difficulty.ngrams`. Whatever changes there needs another name."""
NGRAM_PLACES = 2048
_STEPS = 127
"""The greatest weight, in signed bytes."""
_LONGEST = 65_536
_RISES = Rule(
    "self.quantiles.isSorted()",
    lambda score: list(score.quantiles) == sorted(score.quantiles),
    "quantiles: must not fall",
)


class NgramScore(Fields):
    """A score of z-scored text features and hashed n-grams, fitted to how much better the heavy tier's image is."""

    rules = (_RISES,)
    version: str = Field(
        min_length=1, max_length=32, description=f"How n-grams are read and hashed; this release knows {NGRAM_VERSION}."
    )
    feature_weights: tuple[float, ...] = Field(max_length=16, description="Weight of each z-scored feature.")
    scale: Positive = Field(description="What one step of an n-gram's weight adds to the score.")
    ngram_weights: str = Field(
        max_length=_LONGEST, description="Weight of each place that n-grams hash to: signed bytes, in base64."
    )
    quantiles: tuple[float, ...] = Field(
        min_length=2, max_length=1001, description="Evenly spaced quantiles (0 to 1) of this score."
    )

    @classmethod
    def of(cls, feature_weights: Sequence[float], place_weights: Sequence[float], quantiles: Sequence[float]) -> Self:
        """Return a score of this release's version; weights of places (NGRAM_PLACES) are rounded to signed bytes."""
        scale = max(map(abs, place_weights)) / _STEPS or 1.0
        steps = array("b", (round(weight / scale) for weight in place_weights))
        return cls(
            version=NGRAM_VERSION,
            feature_weights=tuple(feature_weights),
            scale=scale,
            ngram_weights=base64.b64encode(steps).decode(),
            quantiles=tuple(quantiles),
        )

    @property
    def is_known(self) -> bool:
        """Whether this release reads and hashes n-grams as the score expects."""
        return self.version == NGRAM_VERSION

    @property
    def place_weights(self) -> list[float]:
        """Weight of each place; of a version that is known."""
        return [step * self.scale for step in array("b", base64.b64decode(self.ngram_weights))]

    @model_validator(mode="after")
    def _has_every_place(self) -> Self:
        try:
            places = len(base64.b64decode(self.ngram_weights, validate=True))
        except (binascii.Error, ValueError):
            raise ValueError("ngramWeights: is no base64; take the profile as the profiler wrote it") from None
        if self.is_known and places != NGRAM_PLACES:
            raise ValueError(
                f"ngramWeights: {places} weights, where {self.version} has {NGRAM_PLACES}; take the profile as the "
                "profiler wrote it, or leave `ngrams` out"
            )
        return self


class Difficulty(Fields):
    """The router's difficulty score: z-scored text features times weights; with n-grams where they predict better."""

    rules = (
        Rule(
            " && ".join(f"size(self.{name}) == size(self.features)" for name in ("mean", "std", "weights")),
            lambda score: len(score.mean) == len(score.std) == len(score.weights) == len(score.features),
            "features, mean, std and weights must be of one length",
        ),
        Rule(
            "!has(self.ngrams) || size(self.ngrams.featureWeights) == size(self.features)",
            lambda score: score.ngrams is None or len(score.ngrams.feature_weights) == len(score.features),
            "ngrams.featureWeights: write one number for each of features",
        ),
        _RISES,
    )
    features: tuple[Feature, ...] = Field(min_length=1, max_length=16, description="Names of the text features.")
    mean: tuple[float, ...] = Field(description="Mean of each feature over the profiled prompts.")
    std: tuple[Positive, ...] = Field(description="Standard deviation of each feature over the profiled prompts.")
    weights: tuple[float, ...] = Field(description="Weight of each z-scored feature in the score.")
    quantiles: tuple[float, ...] = Field(
        min_length=2, max_length=1001, description="Evenly spaced quantiles (0 to 1) of the score."
    )
    ngrams: NgramScore | None = Field(
        None,
        description="A score that reads n-grams as well. It takes the other's place in routers that know its version.",
    )

    @property
    def known_ngrams(self) -> NgramScore | None:
        """The score with n-grams where it is in force: there is one, and this release knows its version."""
        return self.ngrams if self.ngrams is not None and self.ngrams.is_known else None

    @property
    def score_quantiles(self) -> tuple[float, ...]:
        """Evenly spaced quantiles (0 to 1) of the score in force."""
        return self.quantiles if self.known_ngrams is None else self.known_ngrams.quantiles

    @property
    def why_features_alone(self) -> str | None:
        """Why n-grams are in the profile and not read, with what to do; None where nothing is amiss."""
        if self.ngrams is None or self.ngrams.is_known:
            return None
        return (
            f"difficulty.ngrams: version {self.ngrams.version!r} is not known to this release, which reads "
            f"{NGRAM_VERSION!r}: prompts are scored by the text features alone; profile again, or run the release that "
            "profiled"
        )
