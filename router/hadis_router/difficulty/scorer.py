"""The difficulty of a prompt from its text alone: its features, z-scored and weighted as the profile says."""

from __future__ import annotations

import asyncio

import numpy as np
from hadis.api.resources import Difficulty

from hadis_router.difficulty.features import FEATURES, features

LONG_CHARACTERS = 800
"""Longer prompts may take 5 ms to tag, and are scored in a thread."""


class DifficultyScorer:
    """Scores prompts with the weights of a profile."""

    def __init__(self, difficulty: Difficulty) -> None:
        """Fold scale and weights into one factor per feature."""
        self._factors, self._offset = np.zeros(len(FEATURES)), 0.0
        chosen = zip(difficulty.features, difficulty.mean, difficulty.std, difficulty.weights, strict=True)
        for name, mean, std, weight in chosen:
            self._factors[FEATURES.index(name)] += weight / std
            self._offset += mean * weight / std
        features("a cat")  # what it reads is loaded now (0.2 s), not at the first request

    def score(self, prompt: str) -> float:
        """Return the score; higher is harder."""
        return float(features(prompt) @ self._factors) - self._offset

    async def score_off_loop_if_long(self, prompt: str) -> float:
        """Return the score, from a thread where tagging would hold up the event loop for more than 5 ms."""
        if len(prompt) > LONG_CHARACTERS:
            return await asyncio.to_thread(self.score, prompt)
        return self.score(prompt)
