"""Fair shares: how much of the work that waits may be one client's while others want the service too.

Everybody who is admitted gets an image, so a client that floods cannot be put back later: it has to be refused while
there is still room for the others. Room is the GPU seconds of work that can wait and still be made within the latency
objective (the horizon). It is shared out by max-min fairness (Bertsekas and Gallager, "Data Networks", 6.5.2): clients
that want less than their share get what they want, and what they leave is divided among the others by weight. The
*level* is the room per weight that a client is held to. With the clients in order of what they want per weight, and
the k first ones satisfied,

    level = max over k of (room - what the k first ones want) / (weights of the others)

What a client wants is what it asked for in the last horizon, refusals included, fading exponentially. As requests come
at random, those who want little are left more than that: 3 standard deviations of a compound Poisson process, and
their largest request. Room that is left is no GPU that idles: it is only the queue that is shorter.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_CLIENTS = 4096
"""Of more, the one that has been quiet for longest is forgotten."""
IDLE_S = 60.0
"""A client that asked for nothing for so long is forgotten."""
_DEVIATIONS = 3.0
_STALE = 0.1
"""Share of the horizon for which the levels are used again while many clients ask."""
Array = NDArray[np.float64]


@dataclass(slots=True)
class _Demand:
    """What a client asked for, faded to the time `at`: GPU seconds, and the sum of the squares of its requests'."""

    at: float
    work_s: float = 0.0
    squares: float = 0.0
    largest_s: float = 0.0

    def fade(self, now: float, horizon_s: float) -> None:
        faded = math.exp((self.at - now) / horizon_s)
        self.at, self.work_s, self.squares = now, self.work_s * faded, self.squares * faded


class ClientDemand(NamedTuple):
    """A client's key, what it asked for in the last horizon in GPU seconds, and its weight."""

    client: str
    work_s: float
    weight: float


class _Levels(NamedTuple):
    """By k: what the k clients who want least are left (GPU seconds), and the weights of the others."""

    left_s: Array
    weights: Array


class FairShares:
    """What each client asked for lately, and what it may have."""

    def __init__(self, weights: Mapping[str, float], horizon_s: float) -> None:
        """`weights` by client key; 1 for every other. `horizon_s` is the latency objective."""
        self._weights, self.horizon_s = weights, horizon_s
        self._demands: OrderedDict[str, _Demand] = OrderedDict()
        """In order of their last requests."""
        self._levels = _Levels(np.zeros(1), np.ones(1))
        self._asks_left, self._stale_at = 0, 0.0

    def __len__(self) -> int:
        """Return how many clients are remembered."""
        return len(self._demands)

    def weight(self, client: str) -> float:
        """Return a client's weight."""
        return self._weights.get(client, 1.0)

    def ask(self, client: str, work_s: float, now: float) -> None:
        """Note a request for so much work at `now` (loop time), whatever becomes of it."""
        demand = self._demands.setdefault(client, _Demand(now))
        self._demands.move_to_end(client)
        demand.fade(now, self.horizon_s)
        demand.work_s += work_s
        demand.squares += work_s**2
        demand.largest_s = max(demand.largest_s, work_s)
        self._asks_left -= 1
        if len(self._demands) > MOST_CLIENTS:
            self._demands.popitem(last=False)
        self.forget_idle(now)

    def forget_idle(self, now: float) -> None:
        """Forget who asked for nothing for long."""
        while self._demands and (first := next(iter(self._demands.items())))[1].at < now - IDLE_S:
            del self._demands[first[0]]
            self._asks_left = 0

    def limit_s(self, client: str, room_s: float, now: float) -> float:
        """Return the GPU seconds of work that a client may have waiting; `room_s` is what may wait of all together."""
        if len(self._demands) < 2:
            return math.inf
        if self._asks_left <= 0 or now >= self._stale_at:
            self._levels = self._levels_at(now)
            # A pass over all clients is paid for by as many requests as there are clients, but for a factor.
            self._asks_left, self._stale_at = len(self._demands) // 8, now + _STALE * self.horizon_s
        level = float(np.max((room_s - self._levels.left_s) / self._levels.weights))
        return self.weight(client) * level

    def demand_s(self, client: str, now: float) -> float:
        """Return the work that a client asked for in the last horizon, in GPU seconds."""
        demand = self._demands.get(client)
        return demand.work_s * math.exp((demand.at - now) / self.horizon_s) if demand else 0.0

    def busiest(self, count: int, now: float) -> list[ClientDemand]:
        """Return the clients that asked for most."""
        everybody = (ClientDemand(name, self.demand_s(name, now), self.weight(name)) for name in self._demands)
        return sorted(everybody, key=lambda each: -each.work_s)[:count]

    def _levels_at(self, now: float) -> _Levels:
        rows = [(d.at, d.work_s, d.squares, d.largest_s, self.weight(name)) for name, d in self._demands.items()]
        at, work, squares, largest, weights = np.array(rows).T
        faded = np.exp((at - now) / self.horizon_s)
        order = np.argsort(work * faded / weights, kind="stable")
        work, squares, largest, weights = np.array([work * faded, squares * faded, largest, weights])[:, order]
        left = np.cumsum(work) + _DEVIATIONS * np.sqrt(np.cumsum(squares)) + np.maximum.accumulate(largest)
        return _Levels(np.concatenate(([0.0], left[:-1])), np.cumsum(weights[::-1])[::-1])
