"""A circuit breaker for an endpoint that answers but makes no images: it is left alone for a while, then tried again.

That it lists its models says nothing of that, and to try an image just to know may cost money: the next batch is the
trial.
"""

from __future__ import annotations

REFUSALS = 3
"""Batches refused in a row after which the endpoint is left alone."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 10.0, 300.0


class Breaker:
    """What became of the last batches; times are seconds of one clock."""

    def __init__(self) -> None:
        """Start without any."""
        self._refusals, self._until, self._reason = 0, 0.0, ""

    def refused(self, reason: str, now: float) -> None:
        """Note a batch of which no image was made, and why."""
        self._refusals, self._reason = self._refusals + 1, reason
        if self._refusals >= REFUSALS:
            pause_s = _FIRST_PAUSE_S * 2.0 ** min(self._refusals - REFUSALS, 10)
            self._until = now + min(_LONGEST_PAUSE_S, pause_s)

    def made(self) -> None:
        """Note a batch of which some image was made."""
        self._refusals = 0

    def why_open(self, now: float) -> str | None:
        """Return why no batch should be tried now; None where one may be."""
        return self._reason if self._refusals and now < self._until else None
