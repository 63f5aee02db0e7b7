"""The difficulty of a prompt from its text alone: its features, z-scored and weighted as the profile says.

Where the profile has n-grams, of a version that is known here, their weights are added, and the features have the
weights that were fitted beside them.
"""

from __future__ import annotations

import asyncio
import logging

import numpy as np
from hadis.api.resources import Difficulty

from hadis_router.difficulty.features import FEATURES, features, tagger
from hadis_router.difficulty.ngrams import ngrams

log = logging.getLogger(__name__)

LONG_CHARACTERS = 800
"""Longer prompts may take 5 ms to tag, and are scored in a thread."""


class DifficultyScorer:
    """Scores prompts with the weights of a profile."""

    def __init__(self, difficulty: Difficulty) -> None:
        """Fold scale and weights into one factor per feature."""
        self._factors, self._offset = np.zeros(len(FEATURES)), 0.0
        known = difficulty.known_ngrams
        self._ngram_weights = None if known is None else np.array(known.place_weights)
        if difficulty.why_features_alone:
            log.warning("%s", difficulty.why_features_alone)
        weights = difficulty.weights if known is None else known.feature_weights
        chosen = zip(difficulty.features, difficulty.mean, difficulty.std, weights, strict=True)
        for name, mean, std, weight in chosen:
            self._factors[FEATURES.index(name)] += weight / std
            self._offset += mean * weight / std
        tagger()  # loaded now, not at the first request

    def score(self, prompt: str) -> float:
        """Return the score; higher is harder."""
        score = float(features(prompt) @ self._factors) - self._offset
        if self._ngram_weights is None:
            return score
        places, counts = ngrams(prompt)
        return score + float(counts @ self._ngram_weights[places])

    async def score_off_loop_if_long(self, prompt: str) -> float:
        """Return the score, from a thread where tagging would hold up the event loop for more than 5 ms."""
        if len(prompt) > LONG_CHARACTERS:
            return await asyncio.to_thread(self.score, prompt)
        return self.score(prompt)
