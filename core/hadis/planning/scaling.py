"""How dedicated GPUs move between tiers: only where what is gained pays for the time that a move takes.

A GPU that changes its tier serves nobody for `change_s`. A move is worth it if, over the time that it is expected to
hold, the value (by the objective) with the GPU gone at first and in its new place after is better than that of
staying. Moves of 1, 2, 4, ... GPUs between two tiers and splits of all GPUs are compared, so that counts far away are
reached in a few rounds, each of which keeps what must be kept to serve meanwhile.

Workers need not be equally fast: what stays at a tier counts by the mean *speed* of the tier's workers, in workers of
usual speed; what moves by that of all, for which of them moves is decided elsewhere; what is new counts as usual.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from hadis.planning.queueing import Array
from hadis.planning.routing import Routing
from hadis.planning.tuning import Tuning

_USUAL: Mapping[str, float] = {}
"""Speeds of workers that are all as fast as the profile says."""


class Scaling:
    """Improves the counts of dedicated GPUs by tier."""

    def __init__(self, routing: Routing, *, tuning: Tuning = Tuning()) -> None:
        """`routing` says how good the best row is that some counts keep up with."""
        self._routing, self._tuning = routing, tuning

    def move(
        self,
        demand_rps: float,
        ready: Mapping[str, int],
        assigned: Mapping[str, int],
        change_s: Mapping[str, float],
        speeds: Mapping[str, float] = _USUAL,
    ) -> dict[str, int]:
        """Return better counts than `assigned`, or the same, with the same total.

        `ready` are the GPUs that serve now, `assigned` also those on their way to a tier; `change_s` is how long the
        way to each tier takes. Only ready GPUs are moved. `speeds` are those of the ready ones, by tier.
        """
        names = self._routing.local_names
        now = np.array([assigned.get(name, 0) for name in names])
        serving = np.array([ready.get(name, 0) for name in names])
        free = np.minimum(now, serving)
        others = np.array([c for c in _others(now, self._tuning.splits) if (now - c <= free).all()] or [now])
        moved = sum(count * speeds.get(name, 1.0) for name, count in ready.items()) / max(1, sum(ready.values()))

        def value_of(counts: NDArray[np.int_], kept_of: NDArray[np.int_]) -> Array:
            return self._routing.best_values(demand_rps, self._capacity(counts, kept_of, speeds, moved))

        after = value_of(others, now)
        slow = np.array([change_s.get(name, 0.0) > 0 for name in names])
        lost = np.where(((others > now) & slow).any(1), 1 / self._tuning.payback_changes, 0.0)
        meanwhile = value_of(np.minimum(serving, serving + others - now), serving)
        value = lost * meanwhile + (1 - lost) * after
        best = int(value.argmin())
        stay = float(value_of(now[None], now)[0])
        counts = others[best] if value[best] < stay * (1 - self._tuning.move_gain) else now
        return dict(zip(names, counts.tolist(), strict=True))

    def resize(
        self, demand_rps: float, assigned: Mapping[str, int], total: int, speeds: Mapping[str, float] = _USUAL
    ) -> dict[str, int]:
        """Return counts of so many GPUs, each one added where it helps most or taken where it is missed least."""
        names = self._routing.local_names
        now = counts = np.array([assigned.get(name, 0) for name in names])
        while (short := total - int(counts.sum())) != 0:
            options = counts + (1 if short > 0 else -1) * np.eye(len(names), dtype=int)
            options = options[(options >= 0).all(1)]
            capacity = self._capacity(options, now, speeds, 1.0)
            counts = options[int(self._routing.best_values(demand_rps, capacity).argmin())]
        return dict(zip(names, counts.tolist(), strict=True))

    def _capacity(
        self, counts: NDArray[np.int_], kept_of: NDArray[np.int_], speeds: Mapping[str, float], others: float
    ) -> Array:
        """Return what counts (n, tiers) do in GPUs of usual speed, of which those up to `kept_of` are there already.

        `others` is the speed of those that are not.
        """
        kept = np.minimum(counts, kept_of)
        speed = np.array([speeds.get(name, 1.0) for name in self._routing.local_names])
        return np.asarray(kept * speed + (counts - kept) * others)


def _others(now: NDArray[np.int_], splits: int) -> Iterator[NDArray[np.int_]]:
    """Yield the counts a move away from these, and all GPUs split between two tiers in so many steps."""
    total, unit = int(now.sum()), np.eye(len(now), dtype=int)
    for a, b in itertools.permutations(range(len(now)), 2):
        count = 1
        while count <= now[a]:
            yield now + count * (unit[b] - unit[a])
            count *= 2
    steps = sorted({round(total * i / splits) for i in range(splits + 1)})
    for a, b in itertools.combinations(range(len(now)), 2):
        yield from (n * unit[a] + (total - n) * unit[b] for n in steps)
