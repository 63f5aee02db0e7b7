"""Which requests are retries: the same body from the same client, whose last try was refused.

They are no demand of their own. An image that somebody wants counts once, with its first try, however often that is
refused until a try is admitted or given up.
"""

from __future__ import annotations

import math
from collections import OrderedDict

FORGOTTEN_S = 60.0
"""Retry-After is no longer than this; what comes later is wanted anew."""
MOST = 16_384
Attempt = int
"""A hash of client and body."""


class Retries:
    """The attempts that were refused lately; times are loop times in seconds."""

    def __init__(self) -> None:
        """Start empty."""
        self._refused: OrderedDict[Attempt, tuple[float, int]] = OrderedDict()

    @staticmethod
    def attempt(client: str, body: bytes) -> Attempt:
        """Return what is the same for every try of a request."""
        return hash((client, body))

    def take(self, attempt: Attempt, now: float) -> int | None:
        """Return of how many images the try was that was refused last, None for a first try.

        It is forgotten: how this try ends is to be told anew.
        """
        at, images = self._refused.pop(attempt, (-math.inf, 0))
        return images if at > now - FORGOTTEN_S else None

    def refused(self, attempt: Attempt, images: int, now: float) -> None:
        """Note that a try was refused."""
        self._refused[attempt] = now, images
        if len(self._refused) > MOST:
            self._refused.popitem(last=False)
