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
_AT, _WORK, _SQUARES, _LARGEST, _WEIGHT = range(5)
"""Columns of what is known of a client: when it asked last (loop time); what it asked for, faded to that time, in GPU
seconds and as the sum of the squares of its requests; its largest request; its weight."""


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
        self._rows: OrderedDict[str, int] = OrderedDict()
        """Each client's row in the table, in order of their last requests."""
        self._table = np.zeros((MOST_CLIENTS, 5))
        self._free = list(range(MOST_CLIENTS))
        self._levels = _Levels(np.zeros(1), np.ones(1))
        self._asks_left, self._stale_at = 0, 0.0

    def __len__(self) -> int:
        """Return how many clients are remembered."""
        return len(self._rows)

    def weight(self, client: str) -> float:
        """Return a client's weight."""
        return self._weights.get(client, 1.0)

    def ask(self, client: str, work_s: float, now: float) -> None:
        """Note a request for so much work at `now` (loop time), whatever becomes of it."""
        self.forget_idle(now)
        if client not in self._rows:
            if not self._free:
                self._forget(next(iter(self._rows)))
            self._rows[client] = self._free.pop()
            self._table[self._rows[client]] = now, 0.0, 0.0, 0.0, self.weight(client)
        self._rows.move_to_end(client)
        row = self._table[self._rows[client]]
        at, work, squares, largest, weight = row.tolist()
        faded = math.exp((at - now) / self.horizon_s)
        row[:] = now, work * faded + work_s, squares * faded + work_s**2, max(largest, work_s), weight
        self._asks_left -= 1

    def forget_idle(self, now: float) -> None:
        """Forget who asked for nothing for long."""
        while self._rows:
            client, row = next(iter(self._rows.items()))
            if self._table[row, _AT] >= now - IDLE_S:
                break
            self._forget(client)

    def _forget(self, client: str) -> None:
        self._free.append(self._rows.pop(client))

    def limit_s(self, client: str, room_s: float, now: float) -> float:
        """Return the GPU seconds of work that a client may have waiting; `room_s` is what may wait of all together."""
        if len(self) < 2:
            return math.inf
        if self._asks_left <= 0 or now >= self._stale_at:
            self._levels = self._levels_at(now)
            # A pass over all clients is paid for by as many requests as there are clients, but for a factor.
            self._asks_left, self._stale_at = len(self) // 8, now + _STALE * self.horizon_s
        level = float(np.max((room_s - self._levels.left_s) / self._levels.weights))
        return self.weight(client) * level

    def demand_s(self, client: str, now: float) -> float:
        """Return the work that a client asked for in the last horizon, in GPU seconds."""
        if client not in self._rows:
            return 0.0
        row = self._table[self._rows[client]]
        return float(row[_WORK] * math.exp((row[_AT] - now) / self.horizon_s))

    def busiest(self, count: int, now: float) -> list[ClientDemand]:
        """Return the clients that asked for most."""
        names, table = list(self._rows), self._faded(now)
        first = np.argsort(-table[:, _WORK], kind="stable")[:count]
        return [ClientDemand(names[i], float(table[i, _WORK]), float(table[i, _WEIGHT])) for i in first]

    def _faded(self, now: float) -> Array:
        """Return the rows in the order of `_rows`, with what was asked for faded to a time."""
        table = self._table[list(self._rows.values())]
        table[:, (_WORK, _SQUARES)] *= np.exp((table[:, _AT, None] - now) / self.horizon_s)
        return table

    def _levels_at(self, now: float) -> _Levels:
        table = self._faded(now)
        table = table[np.argsort(table[:, _WORK] / table[:, _WEIGHT], kind="stable")]
        left = np.cumsum(table[:, _WORK]) + _DEVIATIONS * np.sqrt(np.cumsum(table[:, _SQUARES]))
        left += np.maximum.accumulate(table[:, _LARGEST])
        return _Levels(np.concatenate(([0.0], left[:-1])), np.cumsum(table[::-1, _WEIGHT])[::-1])
