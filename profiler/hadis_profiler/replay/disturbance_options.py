"""Disturbances as `hadis replay` takes them: each a short text.

A text that cannot be meant raises ValueError with what to write instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from hadis_profiler.replay.disturbances import Blind, Burst, Disturbances, Loss, SlowBatches, SlowWorkers, Throttle

_LEAST, _MOST, _MOST_RPS = 0.001, 1000.0, 100_000.0
"""The smallest and the largest factor, and the most requests per second of a burst: beyond is a slip of the pen."""
_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"


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
