"""What goes otherwise than the profile says: slow tiers, batches and workers, noise, lost workers, bursts, drift.

Each is read from a short text, as `hadis replay` takes it; a text that cannot be meant raises ValueError with what to
write instead. Factors multiply the time of a batch, so that 2 is half as fast; times are seconds of the trace.
"""

from __future__ import annotations

import heapq
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

_LEAST, _MOST, _MOST_RPS = 0.001, 1000.0, 100_000.0
"""The smallest and the largest factor, and the most requests per second of a burst: beyond is a slip of the pen."""
_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"


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


def read_disturbances(
    *,
    speed: Sequence[str] = (),
    noise: str = "0",
    slow_batches: Sequence[str] = (),
    slow_workers: Sequence[str] = (),
    throttle: Sequence[str] = (),
    lose: Sequence[str] = (),
    burst: Sequence[str] = (),
    blind: Sequence[str] = (),
    drift: bool = False,
    routers: int = 1,
) -> Disturbances:
    """Return what texts such as `2x4` and `100..200x1.6` say; raise ValueError for one that cannot be meant."""
    return Disturbances(
        speed=_read_speeds(speed),
        noise=_number("noise", noise, noise, 0, 3, "0.3"),
        slow_batches=tuple(_read_slow_batches(text) for text in slow_batches),
        slow_workers=tuple(_read_slow_workers(text) for text in slow_workers),
        throttles=tuple(_read_throttle(text) for text in throttle),
        losses=tuple(_read_loss(text) for text in lose),
        bursts=tuple(_read_burst(text) for text in burst),
        blind=tuple(_read_blind(text) for text in blind),
        drift=drift,
        routers=routers,
    )


def _read_speeds(texts: Sequence[str]) -> dict[str, float]:
    speeds: dict[str, float] = {}
    for text in texts:
        tier, _, factor = text.rpartition("=")
        value = _factor("speed", text, factor, "1.5 or TIER=1.5")
        speeds[tier] = speeds.get(tier, 1.0) * value
    return speeds


def _read_slow_batches(text: str) -> SlowBatches:
    share, factor = _match("slow-batches", text, f"{_NUMBER}x{_NUMBER}", "0.02x4")
    return SlowBatches(
        _number("slow-batches", text, share, 0, 1, "0.02x4"), _factor("slow-batches", text, factor, "0.02x4")
    )


def _read_slow_workers(text: str) -> SlowWorkers:
    count, factor = _match("slow-workers", text, f"(\\d+)x{_NUMBER}", "2x4")
    return SlowWorkers(int(count), _factor("slow-workers", text, factor, "2x4"))


def _read_throttle(text: str) -> Throttle:
    start, end, factor = _match("throttle", text, f"{_NUMBER}\\.\\.{_NUMBER}x{_NUMBER}", "100..200x1.6")
    return Throttle(*_span("throttle", text, start, end), _factor("throttle", text, factor, "100..200x1.6"))


def _read_loss(text: str) -> Loss:
    count, at = _match("lose", text, f"(\\d+)@{_NUMBER}", "4@120")
    return Loss(int(count), float(at))


def _read_burst(text: str) -> Burst:
    rps, start, end = _match("burst", text, f"{_NUMBER}@{_NUMBER}\\.\\.{_NUMBER}", "100@150..165")
    return Burst(_number("burst", text, rps, 0, _MOST_RPS, "100@150..165"), *_span("burst", text, start, end))


def _read_blind(text: str) -> Blind:
    return Blind(*_span("blind", text, *_match("blind", text, f"{_NUMBER}\\.\\.{_NUMBER}", "100..200")))


def _match(option: str, text: str, pattern: str, example: str) -> tuple[str, ...]:
    match = re.fullmatch(pattern, text.strip(), re.ASCII)
    if match is None:
        raise ValueError(f"--{option} {text}: is not of the form {example}")
    return match.groups()


def _span(option: str, text: str, start: str, end: str) -> tuple[float, float]:
    if float(end) <= float(start):
        raise ValueError(f"--{option} {text}: must end after it begins")
    return float(start), float(end)


def _factor(option: str, text: str, number: str, example: str) -> float:
    return _number(option, text, number, _LEAST, _MOST, example)


def _number(option: str, text: str, number: str, least: float, most: float, example: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise ValueError(f"--{option} {text}: must be a number from {least:g} to {most:g}, for example {example}")
    return value


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
    trace: Iterator[tuple[float, int]], disturbances: Disturbances, by_difficulty: Sequence[int], end_s: float,
    seed: int = 0,
) -> Iterator[tuple[float, int]]:  # fmt: skip
    """Yield the arrivals of a trace with the bursts on top and the drift: (seconds, prompt index).

    `by_difficulty` are the prompts' indices from the easiest to the hardest.
    """
    bursts = [_poisson(burst, len(by_difficulty), random.Random(f"{seed} {i}")) for i, burst in
              enumerate(disturbances.bursts)]  # fmt: skip
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
