"""What configurations reach at a cost: the upper concave hull of their points of cost and mean score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Outcome = tuple[Array, Array]
"""Of a configuration: the cost (GPU seconds) and the score of each prompt (n,)."""


def hulls_at(outcomes: Iterable[Outcome], weights: Array, costs: Sequence[float]) -> Array:
    """Return what configurations reach with each weighting of the prompts (n, w), at each cost: (w, costs)."""
    known = list(outcomes)
    cost = np.stack([each for each, _ in known]) @ weights
    score = np.stack([each for _, each in known]) @ weights
    return np.stack([hull_at(np.stack([c, s], 1), costs) for c, s in zip(cost.T, score.T, strict=True)])


def hull_at(points: Array, at: Sequence[float]) -> Array:
    """Return the upper concave hull of points (m, 2) of cost and score, at some costs; NaN left of the cheapest."""
    costs, scores = zip(*hull(points), strict=True)
    return np.asarray(np.interp(at, costs, scores, left=np.nan))


def hull(points: Array) -> list[tuple[float, float]]:
    """Return the corners of the upper concave hull of points (m, 2), by rising cost and score."""
    points = points[np.lexsort((-points[:, 1], points[:, 0]))]
    corners: list[tuple[float, float]] = []
    for x, y in points.tolist():
        if corners and y <= corners[-1][1]:
            continue
        while len(corners) > 1 and _is_under(corners[-1], corners[-2], (x, y)):
            corners.pop()
        corners.append((x, y))
    return corners


def _is_under(middle: tuple[float, float], left: tuple[float, float], right: tuple[float, float]) -> bool:
    slope = (right[1] - left[1]) / (right[0] - left[0])
    return middle[1] <= left[1] + slope * (middle[0] - left[0])
