"""Requests of a replay that one tier alone may make: negative prompts, edits, and what clients name a tier for.

A trace does not say which, so it is drawn, in given shares. Texts that cannot be meant raise ValueError with what to
write instead, as those of the sizes do.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class OnlyTier:
    """Shares of the requests by the tier that alone may make them; every tier may make the others."""

    shares: tuple[tuple[str, float], ...] = ()

    def drawn(self, seed: int) -> Callable[[], str | None]:
        """Return what gives the tier of one request after the other; None: any may make it."""
        if not self.shares:
            return lambda: None
        draw, rest = random.Random(f"only {seed}"), 1 - sum(share for _, share in self.shares)
        tiers, weights = [*(tier for tier, _ in self.shares), None], [*(share for _, share in self.shares), rest]
        return lambda: draw.choices(tiers, weights)[0]


def read_only(text: str | None, tiers: Collection[str]) -> OnlyTier:
    """Return what a text such as `heavy=0.3` says of `tiers`; raise ValueError for one that cannot be meant."""
    if text is None:
        return OnlyTier()
    example = f"{list(tiers)[-1]}=0.3"
    shares = tuple(_share(text, part, example) for part in text.split(","))
    if unknown := [tier for tier, _ in shares if tier not in tiers]:
        raise ValueError(f"--only {text}: no tier is named {unknown[0]!r}; there are {', '.join(tiers)}")
    if len(dict(shares)) < len(shares) or sum(share for _, share in shares) > 1:
        raise ValueError(f"--only {text}: each tier may stand once, and the shares add up to 1 at most")
    return OnlyTier(shares)


def _share(text: str, part: str, example: str) -> tuple[str, float]:
    tier, _, share = part.strip().partition("=")
    try:
        value = float(share)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise ValueError(f"--only {text}: must be tiers with their shares of the requests, for example {example}")
    return tier, value
