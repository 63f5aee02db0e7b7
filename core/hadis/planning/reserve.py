"""The light reserve as far as planning has to know it: how large the heavy batches are that shared workers begin. Pure.

The router begins a heavy batch only where whoever is in it without an image would still be in time if it lasted some
longer than expected (`longest_s`; docs/decisions/light-reserve.md). Larger batches are cut, and then take more GPU time
per image: a plan that counts on them asks for more heavy work than is done.

A batch of b jobs begins when b wait. By Little's law (1961, L = lambda W) the oldest of them came (b - 1) / lambda
before, where lambda is the rate of jobs for the heavy tier. So as a rule a batch is not cut where

    (b - 1) / lambda + the longest that it may last <= what the SLO leaves

and without that slack where all jobs have a light image already. It matters on few workers: jobs come slowly there, and
a batch as long as the SLO allows would have to be full at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hadis.planning.queueing import Array

SLACK = 1.3
"""How many times as long as expected a batch may take for the promise of a light image to hold."""
MOST_SLACK = 0.1
"""No more than this share of the SLO is kept back for it: long batches would have to be begun without waiting for
company. While the times of a tier are a surprise still, there is no such limit."""


def longest_s(expected_s: float, slo_s: float) -> float:
    """Return the seconds that are set aside for a batch that should take `expected_s`."""
    return min(SLACK * expected_s, expected_s + MOST_SLACK * slo_s)


def oldest_done_s(seconds: ArrayLike, batches: ArrayLike, rate_rps: ArrayLike, needy: ArrayLike, slo_s: float) -> Array:
    """Return the seconds from the arrival of a heavy batch's oldest job to when the batch must be taken to be done.

    `seconds` are those of a batch, `rate_rps` the jobs per second for the heavy tier, and `needy` says whether some of
    them have no image yet. All arguments broadcast. Where no job comes, a batch of more than one takes for ever.
    """
    size, time = np.asarray(batches, float), np.asarray(seconds, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        gathered_s = np.where(size > 1, (size - 1) / np.asarray(rate_rps, float), 0.0)
    return np.asarray(gathered_s + np.where(needy, np.minimum(SLACK * time, time + MOST_SLACK * slo_s), time))
