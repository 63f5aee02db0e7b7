"""What goes otherwise than the profile says: slow tiers, batches and workers, noise, lost workers, bursts, drift.

Factors multiply the time of a batch, so that 2 is half as fast; times are seconds of the trace.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class SlowBatches(NamedTuple):
    """A share of the batches takes `factor` times as long."""

    share: float
    factor: float


class SlowWorkers(NamedTuple):
    """So many workers are slower by a factor, all the time."""

    workers: int
    factor: float


class Throttle(NamedTuple):
    """Every worker is slower by a factor from one second to another."""

    start_s: float
    end_s: float
    factor: float


class Loss(NamedTuple):
    """So many workers are lost at a second, for good."""

    workers: int
    at_s: float


class Blind(NamedTuple):
    """No router can be read from one second to another."""

    start_s: float
    end_s: float


class Burst(NamedTuple):
    """So many requests per second arrive on top of the trace from one second to another."""

    rps: float
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Disturbances:
    """All of them; the default disturbs nothing."""

    speed: Mapping[str, float] = field(default_factory=dict)
    """Factor by tier; under "" that of every tier."""
    noise: float = 0.0
    """Standard deviation of the logarithm of each batch's factor; the median stays 1."""
    slow_batches: tuple[SlowBatches, ...] = ()
    slow_workers: tuple[SlowWorkers, ...] = ()
    throttles: tuple[Throttle, ...] = ()
    losses: tuple[Loss, ...] = ()
    bursts: tuple[Burst, ...] = ()
    blind: tuple[Blind, ...] = ()
    drift: bool = False
    """Whether prompts get harder: at the end of the trace all are of the harder half."""
    routers: int = 1

    def check(self, tiers: Sequence[str], workers: int, end_s: float) -> None:
        """Raise ValueError for what does not fit a profile's tiers, so many workers, or a trace ending at `end_s`."""
        for tier in self.speed:
            if tier and tier not in tiers:
                raise ValueError(f"--speed {tier}=...: there is no tier {tier!r}; there are {', '.join(tiers)}")
        slow, lost = (sum(each.workers for each in some) for some in (self.slow_workers, self.losses))
        if slow > workers:
            raise ValueError(f"--slow-workers: {slow} workers, but there are {workers}; name at most {workers}")
        if self.losses and lost >= workers:
            most = f"name at most {workers - 1}, so that one serves" if workers > 1 else "one must serve; leave it out"
            raise ValueError(f"--lose: {lost} workers, but there are {workers}; {most}")
        for loss in self.losses:
            if loss.at_s > end_s:
                raise ValueError(f"--lose: at {loss.at_s:g} s, but the trace ends at {end_s:.0f} s; name a time before")
        for option, spans in (("throttle", self.throttles), ("burst", self.bursts), ("blind", self.blind)):
            for span in spans:
                if span.end_s > math.ceil(end_s):
                    fault = f"{span.start_s:g}..{span.end_s:g} s, but the trace ends at {end_s:.0f} s"
                    raise ValueError(f"--{option}: {fault}; name seconds of the trace")

    def blind_at(self, now_s: float) -> bool:
        """Return whether no router can be read at a time."""
        return any(span.start_s <= now_s < span.end_s for span in self.blind)


class BatchFactors:
    """The factor on each batch's time, drawn from one seed: the same replay draws the same."""

    def __init__(self, disturbances: Disturbances, seed: int = 0) -> None:
        """Keep what disturbs."""
        self._what, self._random = disturbances, random.Random(seed)

    def draw(self, worker: int, tier: str, now_s: float) -> float:
        """Return the factor of a batch that begins now on the worker of a number (from 0)."""
        what = self._what
        factor = what.speed.get("", 1.0) * what.speed.get(tier, 1.0)
        if what.noise:
            factor *= self._random.lognormvariate(0.0, what.noise)
        for slow in what.slow_batches:
            factor *= slow.factor if self._random.random() < slow.share else 1.0
        first = 0
        for some in what.slow_workers:
            factor *= some.factor if first <= worker < first + some.workers else 1.0
            first += some.workers
        for throttle in what.throttles:
            factor *= throttle.factor if throttle.start_s <= now_s < throttle.end_s else 1.0
        return factor


def disturbed_arrivals(
    trace: Iterator[tuple[float, int]],
    disturbances: Disturbances,
    by_difficulty: Sequence[int],
    end_s: float,
    seed: int = 0,
) -> Iterator[tuple[float, int]]:
    """Yield the arrivals of a trace with the bursts on top and the drift: (seconds, prompt index).

    `by_difficulty` are the prompts' indices from the easiest to the hardest.
    """
    bursts = [
        _poisson(burst, len(by_difficulty), random.Random(f"{seed} {i}")) for i, burst in enumerate(disturbances.bursts)
    ]
    merged = heapq.merge(trace, *bursts) if bursts else trace
    if not disturbances.drift:
        yield from merged
        return
    rank = {prompt: i for i, prompt in enumerate(by_difficulty)}
    draw, half = random.Random(seed), len(by_difficulty) // 2
    for at_s, prompt in merged:
        harder = draw.random() < at_s / end_s
        yield at_s, by_difficulty[half + rank[prompt] // 2] if harder and half else prompt


def _poisson(burst: Burst, prompts: int, draw: random.Random) -> Iterator[tuple[float, int]]:
    at_s = burst.start_s
    while burst.rps and (at_s := at_s + draw.expovariate(burst.rps)) < burst.end_s:
        yield at_s, draw.randrange(prompts)
