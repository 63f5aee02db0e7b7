"""Which scorer a request's prompt is scored by: the profile's in force, or that of a new profile that is tried."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Protocol

from hadis.api.resources import Difficulty
from hadis.planning.rollout import Canary

from hadis_router.difficulty.scorer import DifficultyScorer

log = logging.getLogger(__name__)


class PromptScorer(Protocol):
    """Scores the difficulty of a prompt."""

    def score_off_loop_if_long(self, prompt: str) -> Awaitable[float]:
        """Return the score; higher is harder."""


class Scorers:
    """The scorers of both lanes, made anew only for another profile."""

    def __init__(self, stable: PromptScorer, difficulty: Difficulty) -> None:
        """`stable` is the scorer of `difficulty`, the profile's in force."""
        self._stable, self._difficulty = stable, difficulty
        self._of_canary = stable
        self._made_for = difficulty

    def follow(self, canary: Canary | None) -> Canary | None:
        """Get ready for a new profile; return it, or None where its prompts cannot be scored here."""
        if canary is None or canary.difficulty == self._made_for:
            return canary
        try:
            same = canary.difficulty == self._difficulty
            self._of_canary = self._stable if same else DifficultyScorer(canary.difficulty)
        except ValueError as error:
            log.warning("the new profile %s is not tried: %s", canary.profile, error)
            return None
        self._made_for = canary.difficulty
        return canary

    def of(self, *, canary: bool) -> PromptScorer:
        """Return the scorer of a lane."""
        return self._of_canary if canary else self._stable
