"""What was fitted of prompts' difficulty: the weights of what the router reads from their text.

Two scores may stand in a profile: one by text features, always, and one that reads hashed n-grams as well, where the
profiler saw that it predicts better. Its version names how n-grams are hashed; a router that knows another way scores
by the features alone.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from itertools import pairwise
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
"""How this release reads and hashes n-grams: `hadis_router.difficulty.ngrams`. What changes there gets another name."""
MOST_NGRAMS = 4096
_STEPS = 127
"""The greatest weight, in signed bytes."""
_RISES = Rule(
    "self.quantiles.isSorted()",
    lambda score: list(score.quantiles) == sorted(score.quantiles),
    "quantiles: must not fall",
)


class NgramScore(Fields):
    """A score of how much better the heavy tier's image is: the score by text features, and what n-grams add.

    An n-gram that is not listed adds nothing, so that of prompts in a language that was not profiled the score is that
    by text features.
    """

    rules = (_RISES,)
    version: str = Field(
        min_length=1, max_length=32, description=f"How n-grams are read and hashed; this release knows {NGRAM_VERSION}."
    )
    feature_weight: float = Field(ge=0, description="Weight of the score by text features alone.")
    hashes: str = Field(max_length=32_768, description="The n-grams: rising 32-bit hashes, little-endian, in base64.")
    weights: str = Field(max_length=8_192, description="Weight of each n-gram: signed bytes, in base64.")
    scale: Positive = Field(description="What one step of a weight adds to the score.")
    mean: float = Field(
        description="What the n-grams of a profiled prompt add on average. It is subtracted, in proportion to the "
        "share of a prompt's n-grams that are listed."
    )
    quantiles: tuple[float, ...] = Field(
        min_length=2, max_length=1001, description="Evenly spaced quantiles (0 to 1) of this score."
    )

    @classmethod
    def of(
        cls, feature_weight: float, weight_by_hash: Mapping[int, float], mean: float, quantiles: Sequence[float]
    ) -> Self:
        """Return a score of this release's version; weights are rounded to signed bytes."""
        hashes = sorted(weight_by_hash)
        scale = max(map(abs, weight_by_hash.values()), default=0.0) / _STEPS or 1.0
        steps = [round(weight_by_hash[each] / scale) for each in hashes]
        return cls(
            version=NGRAM_VERSION,
            feature_weight=feature_weight,
            hashes=base64.b64encode(struct.pack(f"<{len(hashes)}I", *hashes)).decode(),
            weights=base64.b64encode(struct.pack(f"{len(steps)}b", *steps)).decode(),
            scale=scale,
            mean=mean,
            quantiles=tuple(quantiles),
        )

    @property
    def is_known(self) -> bool:
        """Whether this release reads and hashes n-grams as the score expects."""
        return self.version == NGRAM_VERSION

    @property
    def weight_by_hash(self) -> dict[int, float]:
        """Weight of each n-gram by its hash, in rising order; of a version that is known."""
        hashes, steps = base64.b64decode(self.hashes), base64.b64decode(self.weights)
        numbers = zip(struct.unpack(f"<{len(steps)}I", hashes), struct.unpack(f"{len(steps)}b", steps), strict=True)
        return {each: step * self.scale for each, step in numbers}

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        if not self.is_known:
            return self
        advice = "take the profile as the profiler wrote it, or leave `ngrams` out"
        try:
            hashes, weights = (base64.b64decode(text, validate=True) for text in (self.hashes, self.weights))
        except ValueError:
            raise ValueError(f"hashes, weights: are no base64; {advice}") from None
        if len(hashes) != 4 * len(weights):
            raise ValueError(f"hashes: {len(hashes)} bytes are not 4 for each of the {len(weights)} weights; {advice}")
        numbers = struct.unpack(f"<{len(weights)}I", hashes)
        if len(numbers) > MOST_NGRAMS or any(left >= right for left, right in pairwise(numbers)):
            raise ValueError(f"hashes: must rise, and be {MOST_NGRAMS} at most; {advice}")
        return self


class Difficulty(Fields):
    """The router's difficulty score: z-scored text features times weights; with n-grams where they predict better."""

    rules = (
        Rule(
            " && ".join(f"size(self.{name}) == size(self.features)" for name in ("mean", "std", "weights")),
            lambda score: len(score.mean) == len(score.std) == len(score.weights) == len(score.features),
            "features, mean, std and weights must be of one length",
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
