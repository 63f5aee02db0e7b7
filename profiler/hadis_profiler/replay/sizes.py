"""Image sizes of a replay: which size each request of a trace asks for.

A trace does not say it, so it is drawn, in given shares. Texts that cannot be meant raise ValueError with what to write
instead, as those of the clients do.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from hadis.planning.profile import Profile
from hadis.planning.sizes import AUTO

_SIZE = re.compile(r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}")
_EXAMPLE = "1024x1024=0.6,1536x1024=0.4"


@dataclass(frozen=True)
class SizeMix:
    """Shares of the requests by size; all are of each tier's first size if left out."""

    shares: tuple[tuple[str, float], ...] = ()

    def drawn(self, seed: int) -> Callable[[], str]:
        """Return what gives the size of one request after the other."""
        if not self.shares:
            return lambda: AUTO
        draw, (sizes, shares) = random.Random(f"sizes {seed}"), zip(*self.shares, strict=True)
        return lambda: draw.choices(sizes, shares)[0]

    def known_by(self, profile: Profile) -> Profile:
        """Return the profile with tiers that name no `sizes` making all of these, in proportion to their pixels.

        Raises ValueError for a size that no tier makes then.
        """
        if not self.shares:
            return profile
        sizes, spec = [size for size, _ in self.shares if size != AUTO], profile.resource.spec
        tiers = tuple(
            tier if tier.sizes else tier.model_copy(update={"sizes": tuple(dict.fromkeys((tier.size, *sizes)))})
            for tier in spec.tiers
        )
        made = {size for tier in tiers for size in tier.all_sizes}
        for size in sizes:
            if size not in made:
                raise ValueError(f"--sizes: no tier of the profile makes {size}; they make {', '.join(sorted(made))}")
        return profile.with_tiers(tiers)


def read_sizes(text: str | None) -> SizeMix:
    """Return what a text such as `1024x1024=0.6,1536x1024=0.4` says; raise ValueError for one that cannot be meant."""
    if text is None:
        return SizeMix()
    shares = tuple(_share(text, part) for part in text.split(","))
    if len({size for size, _ in shares}) < len(shares):
        raise ValueError(f"--sizes {text}: each size may stand once")
    return SizeMix(shares)


def _share(text: str, part: str) -> tuple[str, float]:
    size, _, share = part.strip().partition("=")
    try:
        value = float(share)
    except ValueError:
        value = math.nan
    if not (size == AUTO or _SIZE.fullmatch(size)) or not 0 < value < math.inf:
        raise ValueError(f"--sizes {text}: must be sizes with their shares of the requests, for example {_EXAMPLE}")
    return size, value
