"""The difficulty of a prompt from its text alone, as the profile says.

It is the prompt's features, z-scored and weighted; and where the profile has n-grams, of a version that is known here,
so much of that as the profile says and what the n-grams add.
"""

from __future__ import annotations

import asyncio
import logging

import numpy as np
from hadis.api.resources import Difficulty

from hadis_router.difficulty.features import FEATURES, features
from hadis_router.difficulty.ngrams import added, ngrams

log = logging.getLogger(__name__)

LONG_CHARACTERS = 800
"""Longer prompts may take 5 ms to tag, and are scored in a thread."""


class DifficultyScorer:
    """Scores prompts with the weights of a profile."""

    def __init__(self, difficulty: Difficulty) -> None:
        """Fold scale and weights into one factor per feature, and unpack the weights of n-grams."""
        self._factors, self._offset = np.zeros(len(FEATURES)), 0.0
        chosen = zip(difficulty.features, difficulty.mean, difficulty.std, difficulty.weights, strict=True)
        for name, mean, std, weight in chosen:
            self._factors[FEATURES.index(name)] += weight / std
            self._offset += mean * weight / std
        self._ngrams = difficulty.known_ngrams
        self._ngram_weights = {} if self._ngrams is None else self._ngrams.weight_by_hash
        if difficulty.why_features_alone:
            log.warning("%s", difficulty.why_features_alone)
        features("a word")  # what they are found with is loaded now, not at the first request

    def score(self, prompt: str) -> float:
        """Return the score; higher is harder."""
        by_features = float(features(prompt) @ self._factors) - self._offset
        if self._ngrams is None:
            return by_features
        by_ngrams = added(ngrams(prompt), self._ngram_weights, self._ngrams.mean)
        return self._ngrams.feature_weight * by_features + by_ngrams

    async def score_off_loop_if_long(self, prompt: str) -> float:
        """Return the score, from a thread where tagging would hold up the event loop for more than 5 ms."""
        if len(prompt) > LONG_CHARACTERS:
            return await asyncio.to_thread(self.score, prompt)
        return self.score(prompt)
