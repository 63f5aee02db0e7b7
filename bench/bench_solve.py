"""How long choosing a plan takes: the paper's table, and a table of 10,000 configurations on 512 GPUs.

Run `python bench/bench_solve.py`, pinned to one core for numbers that compare (`taskset -c 0`). Prints markdown.
"""

from __future__ import annotations

import csv
import itertools
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hadis.api.resources import API_VERSION, CascadeProfile, Objective, Optimize
from hadis.api.shares import heavy_share
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.planning.solve import Solver
from hadis.planning.tuning import Tuning

PAPER_TABLE = Path(__file__).parents[2] / "shared/data/paper/config_results_hybrid.csv"
PAPER_SECONDS = (0.5, 1.3, 13.0, 27.0)
"""Seconds of one image by tier: SDXL-Lightning, SD 3.5 Large Turbo, Medium, Large. Batch b takes 0.9 b times it."""
BATCHES = (1, 2, 4, 8, 16, 32)

Row = tuple[int, int, float, float, float]


def paper_rows() -> list[Row]:
    """Return the paper's 726 rows (light, heavy, direct, deferral, FID); made-up ones of that size without the file."""
    if PAPER_TABLE.is_file():
        with PAPER_TABLE.open(newline="") as file:
            return [
                (
                    int(row["light_model"]),
                    int(row["heavy_model"]),
                    float(row["router_ratio"]),
                    float(row["disc_ratio"]),
                    float(row["fid"]),
                )
                for row in csv.DictReader(file)
            ]
    return synthetic_rows(tiers=4, steps=11)


def synthetic_rows(tiers: int, steps: int) -> list[Row]:
    """Return a grid of ratios for every pair of tiers; quality falls with the heavy share, with noise on top."""
    rng = np.random.default_rng(0)
    rows = []
    for light, heavy in itertools.combinations(range(tiers), 2):
        for direct, deferral in itertools.product(np.linspace(0, 1, steps).round(6).tolist(), repeat=2):
            share = heavy_share(direct, deferral)
            worst, best = 30 - 4 * light / tiers, 22 - 6 * heavy / tiers
            rows.append((light, heavy, direct, deferral, worst + (best - worst) * share + float(rng.random())))
    return rows


def profile_of(rows: list[Row], seconds: tuple[float, ...]) -> Profile:
    """Return a profile with these rows, whose tiers take these seconds for a batch of one."""
    tiers: list[dict[str, Any]] = [
        {
            "name": f"tier-{i}",
            "model": "none",
            "steps": 1,
            "latency": [
                {"batch": b, "seconds": s, "joules": 300 * s}
                for b, s in ((b, one if b == 1 else 0.9 * b * one) for b in BATCHES)
            ],
        }
        for i, one in enumerate(seconds)
    ]
    configurations = [
        {"light": f"tier-{a}", "heavy": f"tier-{b}", "directRatio": x, "deferralRatio": y, "quality": q, "cost": 0}
        for a, b, x, y, q in rows
    ]
    difficulty = {"features": ["prompt_length"], "mean": [0], "std": [1], "weights": [1], "quantiles": [0, 1]}
    spec = {"discriminator": "none", "tiers": tiers, "difficulty": difficulty, "configurations": configurations}
    document = {"apiVersion": API_VERSION, "kind": "CascadeProfile", "metadata": {"name": "bench"}, "spec": spec}
    return Profile(CascadeProfile.read(document))


def demands(most_rps: float, calls: int) -> Iterator[float]:
    """Yield demands that wander between almost none and more than the GPUs can serve, the same in every run."""
    rng = np.random.default_rng(1)
    yield from (most_rps * rng.random(calls)).tolist()


def timed_ms(solver: Solver, gpus: int, most_rps: float, calls: int, *, follow: bool) -> list[float]:
    """Return the milliseconds of each call; `follow` hands each plan on to the next call as the control loop does."""
    previous: Plan | None = None
    taken = []
    for demand in demands(most_rps, calls):
        began = time.perf_counter()
        plan = solver.solve(demand, gpus, 0, previous if follow else None)
        taken.append((time.perf_counter() - began) * 1e3)
        previous = plan
    return taken


def cases() -> Iterator[tuple[str, Profile, str, int, float, int, int]]:
    """Yield (name, profile, SLO, GPUs, most demand, calls, refine); the demand goes a bit over what can be served."""
    rows, refine = paper_rows(), Tuning().refine
    paper = profile_of(rows, PAPER_SECONDS)
    yield f"{len(rows)} configurations, 16 GPUs", paper, "60s", 16, 40.0, 2000, 1
    yield f"the same, steps divided by {refine}", paper, "60s", 16, 40.0, 2000, refine
    # 6 tiers have 15 pairs; 26 steps of each ratio give 10,140 rows.
    many = synthetic_rows(tiers=6, steps=26)
    seconds = (0.5, 0.9, 1.3, 5.0, 13.0, 27.0)
    yield f"{len(many)} configurations, 512 GPUs", profile_of(many, seconds), "60s", 512, 1200.0, 200, 1


def main() -> None:
    """Print a table of medians, 99th percentiles and maxima."""
    print("| case | placement | objective | median ms | p99 ms | worst ms |")
    print("|---|---|---|---|---|---|")
    for name, profile, slo, gpus, most_rps, calls, refine in cases():
        for shared, optimize in itertools.product((True, False), Optimize):
            median = float(np.median([row.quality for row in profile.configurations]))
            objective = Objective(latency=slo, optimize=optimize, quality=median, gpu_price=1.0)
            solver = Solver(profile, objective, shared=shared, tuning=Tuning(refine=refine))
            timed_ms(solver, gpus, most_rps, 20, follow=True)  # numpy's first calls are slow
            taken = timed_ms(solver, gpus, most_rps, calls, follow=True)
            placement = "shared" if shared else "dedicated"
            p99 = statistics.quantiles(taken, n=100)[98]
            print(
                f"| {name} | {placement} | {optimize} | {statistics.median(taken):.2f} | {p99:.2f} | {max(taken):.2f} |"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
