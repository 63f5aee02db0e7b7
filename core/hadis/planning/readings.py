"""What a reading must say to be believed: demand comes from outside, and one bad sample must not move a plan. Pure.

A count that cannot be one is refused by name, and the whole reading with it: without one of its counters the demand
would only look smaller. Of what routers learn, a ratio that cannot be one is left out: without it the profile's own
time counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from hadis.planning.memory import Memory
from hadis.planning.snapshot import DemandReading, Problem, Snapshot
from hadis.planning.speeds import Ratios, read_ratios

MOST_COUNT = 2.0**53
"""Counters are floats: over this they no longer count by ones."""
AHEAD_S = 5.0
"""How far a sample may be ahead of the clock that it is compared with."""
_LEAST_RATIO, _MOST_RATIO = 1e-3, 1e3
_MOST_BATCH = 1024


def believed(reading: DemandReading, now_s: float) -> DemandReading | Problem:
    """Return a reading with the ratios that can be ratios, or why it is refused; `now_s` is of its own clock."""
    counts = {**reading.series, **{f"work queued for {tier}": work for tier, work in reading.queued_s.items()}}
    for tiers, series in reading.restricted.items():
        counts |= {f"arrivals at {router} for {tiers} alone": count for router, count in series.items()}
    problems = (count_problem(name, value) for name, value in counts.items())
    problem = time_problem("the reading", reading.at_s, now_s) or next(filter(None, problems), None)
    if problem is not None:
        return problem
    by_worker = {url: ratio for url, ratio in reading.worker_ratios.items() if is_ratio(ratio)}
    return replace(reading, ratios=usable_ratios(reading.ratios), worker_ratios=by_worker)


def last_known(snapshot: Snapshot, memory: Memory) -> Snapshot:
    """Return the snapshot with the last reading where there is none now.

    What waited and who was slow then is taken to be so still: as empty queues and usual speeds, a missed reading would
    move the plan.
    """
    if isinstance(snapshot.reading, DemandReading) or memory.reading is None:
        return snapshot
    return replace(snapshot, reading=memory.reading)


def count_problem(name: str, value: float) -> Problem | None:
    """Return why a value is no count of arrivals, or of seconds of work; None where it is one."""
    if not math.isfinite(value):
        return Problem("NotANumber", f"{name} is {value}, which is no number")
    if value < 0:
        return Problem("NegativeSample", f"{name} is {value:g}; a count is never negative")
    if value > MOST_COUNT:
        return Problem("SampleTooLarge", f"{name} is {value:g}; no count is over 2^53")
    return None


def time_problem(name: str, at_s: float, now_s: float) -> Problem | None:
    """Return why a sample's time cannot be one; None where it can. Both are of the same clock."""
    if not math.isfinite(at_s):
        return Problem("NotANumber", f"{name} is of the time {at_s}, which is no number")
    if at_s - now_s > AHEAD_S:
        return Problem("FutureSample", f"{name} is {at_s - now_s:.0f} s in the future; compare the clocks")
    return None


def is_ratio(value: float) -> bool:
    """Return whether a measured time may be so many times an expected one."""
    return _LEAST_RATIO <= value <= _MOST_RATIO


def ratios_of(document: Mapping[str, Mapping[str, float]]) -> dict[str, dict[int, float]]:
    """Return the usable ratios of a JSON document; none of one of another form."""
    try:
        return usable_ratios(read_ratios(document))
    except (TypeError, ValueError, OverflowError):
        return {}


def usable_ratios(ratios: Ratios) -> dict[str, dict[int, float]]:
    """Return the ratios that can be ones, of batch sizes that can be ones."""
    usable = {
        tier: {batch: ratio for batch, ratio in by_batch.items() if is_ratio(ratio) and 1 <= batch <= _MOST_BATCH}
        for tier, by_batch in ratios.items()
    }
    return {tier: by_batch for tier, by_batch in usable.items() if by_batch}
