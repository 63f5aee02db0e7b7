"""Which share of the requests each tier of a cascade serves, and what that costs (the paper's section 4.2).

Written once: tables, routing, replays and the profiler all take it from here. Every function takes numbers or arrays.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Share = TypeVar("Share", float, NDArray[np.float64])


def light_share(direct: Share) -> Share:
    """Return the share of the requests that the light tier serves: all but the direct ones."""
    return 1 - direct


def deferred_share(direct: Share, deferral: Share) -> Share:
    """Return the share of the requests that both tiers serve: the deferred ones of the light tier's."""
    return light_share(direct) * deferral


def heavy_share(direct: Share, deferral: Share) -> Share:
    """Return the share of the requests that the heavy tier serves: the direct and the deferred ones."""
    return direct + deferred_share(direct, deferral)


def judged_share(direct: float, deferral: float, *, best_of_two: bool) -> float:
    """Return how many images per request the discriminator judges: none where none is deferred, else the light ones.

    Where the better of two is kept, the heavy ones too: a heavy batch with a deferred request is judged as a whole.
    """
    if not deferral:
        return 0.0
    return light_share(direct) + (heavy_share(direct, deferral) if best_of_two else 0.0)


def cascade_gpu_s(
    direct: float, deferral: float, light_s: float, heavy_s: float, judge_s: float = 0.0, *, best_of_two: bool = False
) -> float:
    """Return the GPU seconds per request of a cascade from those per image of its tiers and of the discriminator.

    A tier that serves nothing costs nothing, even where its time is infinite.
    """
    judged = judged_share(direct, deferral, best_of_two=best_of_two)
    shares = (light_share(direct), light_s), (heavy_share(direct, deferral), heavy_s), (judged, judge_s)
    return sum(share * seconds for share, seconds in shares if share)
