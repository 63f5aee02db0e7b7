"""The queueing model: how long batches wait, from utilization, servers and the time of a batch. Pure.

A server takes up to a batch of waiting jobs when it gets free, so a batch is the customer: batches come at the rate of
jobs / batch size and take the service time of a full batch. Arrivals are Poisson; where few jobs wait, batches are
smaller and faster than is assumed, so the model errs on the slow side.

- Share of batches that wait, for c servers: util ** (sqrt(2 (c + 1)) - 1), Sakasegawa (1977), "An approximation formula
  L_q = a rho^b / (1 - rho)".
- Mean wait of those that wait: (ca^2 + cs^2) / 2 * service / (c (1 - util)), Allen and Cunneen's correction of
  M/M/c for other variabilities (Allen 1990, section 5.4; Hopp and Spearman, "Factory Physics", VUT equation).
- Its tail is exponential (Kingman 1961, heavy traffic).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def wait_quantile_s(
    utilization: ArrayLike, servers: ArrayLike, service_s: ArrayLike, scv: ArrayLike, tail: ArrayLike
) -> Array:
    """Return the seconds of waiting that a share `tail` of the batches exceeds.

    It is infinite where the utilization is 1 or more, or there is no server. All arguments broadcast. `utilization` is
    the work per second divided by the servers, `service_s` the mean seconds of a batch, `scv` the squared coefficient
    of variation of batch times (0 for one tier, whose batches all take the same time).
    """
    util, count = np.asarray(utilization, float), np.asarray(servers, float)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        waits = util ** (np.sqrt(2 * (count + 1)) - 1)
        mean = (1 + np.asarray(scv)) / 2 * np.asarray(service_s) / (count * (1 - util))
        wait = mean * np.log(np.maximum(waits / np.asarray(tail), 1.0))
    return np.where((util < 1) & (count > 0), wait, np.inf)


def wait_tail(late_share: float, deferred_share: ArrayLike) -> Array:
    """Return the tail that each wait may have so that at most `late_share` of all requests is late.

    A deferred request waits twice. By the union bound it is late with at most twice the tail, so that over all
    requests the late share is at most tail * (1 + deferred_share).
    """
    return late_share / (1 + np.asarray(deferred_share, float))
