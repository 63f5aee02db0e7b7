"""The tables of `bench_paper` on a world that is not as profiled, and on several routers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hadis_profiler.replay.disturbance_options import read_disturbances
from replays import Case, Replays, Section, slower

SEEDS = (0, 1, 2)
POLICIES = ("hadis", "random-mix", "hadis-paper")
ROUTERS = (1, 2, 4, 8)
NOISE, SLOW_SHARE, SLOW_BY = 0.3, 0.02, 4


@dataclass(frozen=True)
class Scenario:
    """What goes otherwise than the profile says."""

    options: Mapping[str, Any]
    """As `hadis replay` takes them."""
    mean: float = 0.0
    """The factor of a profile that would know it, where one factor says it all; 0 where none does."""
    drawn: bool = False
    """Whether another seed is another world."""


@dataclass(frozen=True)
class Scale:
    """How large disturbances are, so that they are alike on traces and services of any size."""

    slow_workers: int
    lost_workers: int
    burst_rps: float


def scenarios(scale: Scale, end_s: float) -> dict[str, Scenario]:
    """Return what is disturbed on a trace that ends at `end_s`, by how a table calls it."""
    third, half = (f"{round(end_s * share)}" for share in (1 / 3, 1 / 2))
    two_thirds, burst_end = f"{round(end_s * 2 / 3)}", f"{round(end_s / 2) + 15}"
    slow, lost, rps = scale.slow_workers, scale.lost_workers, scale.burst_rps
    return {
        "none": Scenario({}),
        "all tiers 1.5 times slower": Scenario({"speed": ["1.5"]}, 1.5),
        "all tiers 2 times slower": Scenario({"speed": ["2"]}, 2.0),
        f"lognormal noise, sigma {NOISE}": Scenario({"noise": f"{NOISE}"}, math.exp(NOISE**2 / 2), drawn=True),
        f"{SLOW_SHARE:.0%} of the batches take {SLOW_BY} times as long": Scenario(
            {"slow_batches": [f"{SLOW_SHARE}x{SLOW_BY}"]}, 1 + SLOW_SHARE * (SLOW_BY - 1), drawn=True
        ),
        f"{slow} of the workers 4 times slower": Scenario({"slow_workers": [f"{slow}x4"]}),
        "1.6 times slower in the middle third": Scenario({"throttle": [f"{third}..{two_thirds}x1.6"]}),
        f"{lost} of the workers lost in the middle": Scenario({"lose": [f"{lost}@{half}"]}),
        f"{rps:g} requests/s more for 15 s": Scenario({"burst": [f"{rps}@{half}..{burst_end}"]}, drawn=True),
        "prompts that get harder": Scenario({"drift": True}, drawn=True),
    }


def disturbed(replays: Replays, case: Case, scale: Scale) -> Section:
    """Begin the replays of a case in every world, a row each, with a column per policy."""
    rows = {}
    for name, scenario in scenarios(scale, case.inputs.end_s).items():
        seeds = SEEDS if scenario.drawn else SEEDS[:1]
        cells = [replays.cell(_in(case, scenario), policy, seeds) for policy in POLICIES]
        known = replays.cell(_knowing(case, scenario), "hadis", seeds) if scenario.mean else None
        rows[name] = (*cells, known)
    columns = ("disturbance", *POLICIES, "hadis, with a profile that knows it")
    return Section(f"A world that is not as profiled: {case.name}", columns, rows)


def routers(replays: Replays, cases: Sequence[Case]) -> Section:
    """Begin the replays of cases whose requests arrive at several routers."""
    rows = {f"{count}": [replays.cell(_in(case, Scenario({"routers": count}))) for case in cases] for count in ROUTERS}
    return Section("Several routers", ("routers", *(case.name for case in cases)), rows)


def _in(case: Case, scenario: Scenario) -> Case:
    return replace(case, inputs=replace(case.inputs, disturbances=read_disturbances(**scenario.options)))


def _knowing(case: Case, scenario: Scenario) -> Case:
    """Return the same workers under a profile that says what their batches take in the mean."""
    options = {**scenario.options, "speed": [*scenario.options.get("speed", ()), f"{1 / scenario.mean:.9f}"]}
    known = _in(case, replace(scenario, options=options))
    return replace(known, inputs=replace(known.inputs, profile=slower(case.inputs.profile, scenario.mean)))
