"""The measured grid of ratios made finer: quality between measured rows is interpolated bilinearly."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hadis.api.cascade_profile import Configuration

Points = dict[tuple[float, float], float]
"""Quality by (direct ratio, deferral ratio)."""


class GridRow(NamedTuple):
    """A row of the table; tiers are numbered from light to heavy."""

    light: int
    heavy: int
    best_of_two: bool
    direct_ratio: float
    deferral_ratio: float
    quality: float


MOST_FINER = 200_000
"""Rows of a table: 94,420 measured ones and their fourths between took the planner 8 s and 0.7 GiB."""


def refined(configurations: Sequence[Configuration], names: Sequence[str], refine: int) -> list[GridRow]:
    """Return the rows, pair by pair of tiers and way of deferral, with each step of the ratios divided by `refine`.

    A pair whose ratios are no full grid, and every pair where `refine` is 1, keeps its measured rows. Of rows that
    were measured twice the better one stays. Where there would be over MOST_FINER rows, steps are divided by less.
    """
    refine = min(refine, max(1, math.isqrt(MOST_FINER // len(configurations)))) if configurations else refine
    pairs: dict[tuple[int, int, bool], Points] = {}
    for c in configurations:
        points = pairs.setdefault((names.index(c.light), names.index(c.heavy), c.best_of_two), {})
        at = (c.direct_ratio, c.deferral_ratio)
        points[at] = min(c.quality, points.get(at, math.inf))
    return [
        GridRow(*pair, direct, deferral, quality)
        for pair, points in pairs.items()
        for (direct, deferral), quality in _finer_points(points, refine).items()
    ]


def _finer_points(points: Points, refine: int) -> Points:
    direct, deferral = (sorted({at[i] for at in points}) for i in (0, 1))
    if refine <= 1 or len(points) == 1 or len(points) != len(direct) * len(deferral):
        return points
    grid = np.array([[points[x, y] for y in deferral] for x in direct])
    xs, ys = _finer_steps(direct, refine), _finer_steps(deferral, refine)
    across = np.array([np.interp(ys, deferral, line) for line in grid])
    full = np.array([np.interp(xs, direct, column) for column in across.T]).T
    return {
        (round(x, 6), round(y, 6)): float(full[i, j])
        for (i, x), (j, y) in itertools.product(enumerate(xs.tolist()), enumerate(ys.tolist()))
    }


def _finer_steps(values: list[float], refine: int) -> NDArray[np.float64]:
    if len(values) < 2:
        return np.array(values)
    return np.interp(np.arange((len(values) - 1) * refine + 1) / refine, np.arange(len(values)), values)
