"""How well confidences tell good images from poor ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]


def good_by_score(scores: Array) -> Flags:
    """Return which images are good enough by scores (k, n), from the lightest to the heaviest tier.

    Where scores are 0 or 1, they say so. Of others: those no worse than the heaviest tier's of the same prompt, or than
    its median.
    """
    if np.isin(scores, (0.0, 1.0)).all():
        return np.asarray(scores == 1.0)
    enough = np.minimum(scores[-1], np.median(scores[-1]))
    return np.asarray(scores >= enough - 1e-9)


def area_under_curve(scores: Array, good: Flags) -> float:
    """Return the share of (good, poor) pairs that the scores put in order, ties by half; 0.5 without any pair."""
    if good.all() or not good.any():
        return 0.5
    _, inverse, ties = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[inverse]
    n = int(good.sum())
    return float((ranks[good].sum() - n * (n + 1) / 2) / (n * (len(good) - n)))
