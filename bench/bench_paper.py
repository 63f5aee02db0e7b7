"""Compare policies on the paper's measured data: `python bench/bench_paper.py DATA OUT.md`.

Writes a table per setting, each cell judged from the request log alone, and a picture of our own run per trace. DATA is
a folder with the public artifact's traces, prompt features and confidences.
"""

from __future__ import annotations

import csv
import math
import statistics
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hadis.api.manifest import read_profile
from hadis.api.tier import BatchLatency
from hadis.planning.profile import Profile
from hadis.planning.speeds import corrected
from hadis.planning.tuning import Tuning
from hadis_profiler.replay.disturbances import read_disturbances
from hadis_profiler.replay.inputs import read_prompts
from hadis_profiler.replay.plot import Timeline
from hadis_profiler.replay.policies import POLICIES
from hadis_profiler.replay.run import Inputs

TRACES = ("1to20", "1to32", "1to40", "1to64")
GPUS, SEEDS = 16, (0, 1, 2)
DRAWS = ("random-mix", "proteus")
"""Policies that depend on the seed; the others are run once."""
PROFILE = Path(__file__).parents[1] / "examples/paper/profile.yaml"
DIFFSERVE = {"sdxl-lightning": "sdturbo", "sd35-large": "sdv15"}

PLAN_EVERY_S = 1.0
"""Period of our own control loop."""
WITHOUT: dict[str, tuple[Tuning, float]] = {
    "hadis": (Tuning(), PLAN_EVERY_S),
    "without rows between the measured ones": (Tuning(refine=1), PLAN_EVERY_S),
    "without feedback from the queues": (Tuning(queue_horizon_slos=1e9), PLAN_EVERY_S),
    "without a queue to keep GPUs busy": (Tuning(target_wait=0.0), PLAN_EVERY_S),
    "a plan every 5 s": (Tuning(), 5.0),
}
"""What our policy is made of, one part taken away at a time: its tuning and the seconds from plan to plan."""

OTHERWISE_POLICIES = ("hadis", "random-mix", "hadis-paper")
OTHERWISE: dict[str, tuple[dict[str, Any], float]] = {
    "none": ({}, 0),
    "all tiers 1.5 times slower": ({"speed": ["1.5"]}, 1.5),
    "all tiers 2 times slower": ({"speed": ["2"]}, 2.0),
    "lognormal noise, sigma 0.3": ({"noise": "0.3"}, 0),
    "2% of the batches take 4 times as long": ({"slow_batches": ["0.02x4"]}, 0),
    "2 of 16 workers 4 times slower": ({"slow_workers": ["2x4"]}, 0),
    "1.6 times slower from 100 to 200 s": ({"throttle": ["100..200x1.6"]}, 0),
    "4 of 16 workers lost at 120 s": ({"lose": ["4@120"]}, 0),
    "100 requests/s more from 150 to 165 s": ({"burst": ["100@150..165"]}, 0),
    "prompts that get harder": ({"drift": True}, 0),
}
"""What is disturbed, as `hadis replay` takes it, and the factor of a profile that would know it."""


@dataclass(frozen=True)
class Case:
    """One column of a table."""

    name: str
    inputs: Inputs
    shared: bool = True
    change_cost_s: float = 0.0


def run_cell(
    case: Case, policy: str, seed: int, tuning: Tuning = Tuning(), plan_every_s: float = PLAN_EVERY_S
) -> tuple[float, float]:
    """Return quality and violations in percent."""
    summary, _ = case.inputs.run(
        policy, GPUS, case.shared, case.change_cost_s, seed, lambda o: None, tuning=tuning, plan_every_s=plan_every_s
    )
    return summary.quality, 100 * summary.violations


def parts(pool: ProcessPoolExecutor, cases: list[Case]) -> Iterator[str]:
    """Yield the lines of the table of parts."""
    yield "| policy | " + " | ".join(case.name for case in cases) + " |"
    yield "|---" * (len(cases) + 1) + "|"
    jobs = {
        name: [pool.submit(run_cell, case, "hadis", 0, tuning, plan_every_s) for case in cases]
        for name, (tuning, plan_every_s) in WITHOUT.items()
    }
    for name, row in jobs.items():
        yield f"| {name} | " + " | ".join("{:.2f} / {:.2f}".format(*job.result()) for job in row) + " |"


def table(pool: ProcessPoolExecutor, cases: list[Case]) -> Iterator[str]:
    """Yield the lines of a table: a row per policy, a column per case."""
    yield "| policy | " + " | ".join(case.name for case in cases) + " |"
    yield "|---" * (len(cases) + 1) + "|"
    jobs = {
        (policy, i): [pool.submit(run_cell, case, policy, s) for s in (SEEDS if policy in DRAWS else SEEDS[:1])]
        for policy in POLICIES
        for i, case in enumerate(cases)
    }
    for policy in POLICIES:
        cells = []
        for i in range(len(cases)):
            results = [job.result() for job in jobs[policy, i]]
            cells.append(" / ".join(number(statistics.mean(values)) for values in zip(*results, strict=True)))
        yield f"| {policy} | " + " | ".join(cells) + " |"
        print(policy, *cells, file=sys.stderr, flush=True)


def number(value: float) -> str:
    """Return a number as the tables have it."""
    return "–" if math.isnan(value) else f"{value:.2f}"


def otherwise(pool: ProcessPoolExecutor, case: Case) -> Iterator[str]:
    """Yield the lines of the table of a world that is not as profiled: a row per disturbance, a column per policy."""
    yield "| disturbance | " + " | ".join(OTHERWISE_POLICIES) + " | hadis, with a profile that knows it |"
    yield "|---" * (len(OTHERWISE_POLICIES) + 2) + "|"
    jobs = {}
    for name, (texts, factor) in OTHERWISE.items():
        disturbed = replace(case, inputs=replace(case.inputs, disturbances=read_disturbances(**texts)))
        jobs[name] = [pool.submit(run_cell, disturbed, policy, 0) for policy in OTHERWISE_POLICIES]
        if factor:
            knowing = replace(case.inputs, profile=slower(case.inputs.profile, factor))
            jobs[name].append(pool.submit(run_cell, replace(case, inputs=knowing), "hadis", 0))
    for name, row in jobs.items():
        cells = ["{:.2f} / {:.2f}".format(*job.result()) for job in row]
        yield f"| {name} | " + " | ".join([*cells, "-"][: len(OTHERWISE_POLICIES) + 1]) + " |"
        print(name, *cells, file=sys.stderr, flush=True)


def slower(profile: Profile, times: float) -> Profile:
    """Return the profile with every latency multiplied."""
    return corrected(profile, {tier: dict.fromkeys(profile.batch_sizes(tier), times) for tier in profile.tiers})


def diffserve(profile: Profile, data: Path) -> Profile:
    """Return DiffServe's latencies (SD-Turbo and SD v1.5) with the quality of our lightest and heaviest tier."""
    latencies_s: dict[str, dict[int, float]] = {name: {} for name in DIFFSERVE.values()}
    with (data / "runtimes_sdturbo.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["Accel"] == "onnxruntime_gpu_ampere" and float(row["avg_runtime"]) < 100_000:
                latencies_s[row["Model"]][int(row["batchsize"])] = float(row["avg_runtime"]) / 1e3
    spec = profile.resource.spec
    tiers = tuple(
        tier.model_copy(update={"latency": tuple(BatchLatency(batch=b, seconds=s) for b, s in sorted(
            latencies_s[DIFFSERVE[tier.name]].items()))}) if tier.name in DIFFSERVE else tier
        for tier in spec.tiers
    )  # fmt: skip
    rows = tuple(c for c in spec.configurations if {c.light, c.heavy} <= set(DIFFSERVE))
    spec = spec.model_copy(update={"tiers": tiers, "configurations": rows})
    return Profile(profile.resource.model_copy(update={"spec": spec}))


def main(data: Path, out: Path) -> None:
    """Run everything."""
    if not data.is_dir():
        print(f"bench-paper is skipped: the paper's data is not at {data}", file=sys.stderr)
        return
    profile = Profile(read_profile(PROFILE))
    prompts = read_prompts(data, profile)
    base = [Case(name, Inputs(profile, prompts, data / f"traces/trace_{name}qps.txt", "6s", 0.99)) for name in TRACES]
    slow = [
        replace(case, inputs=replace(case.inputs, profile=slower(profile, 10), slo="60s", stretch=10)) for case in base
    ]
    ds_trace = data / "traces/diffserve_4to32qps.txt"
    others = [
        Case("4to32, SLO 5 s", Inputs(diffserve(profile, data), prompts, ds_trace, "5s", 0.99)),
        Case("4to32, the paper's tiers, SLO 6 s", Inputs(profile, prompts, ds_trace, "6s", 0.99)),
    ]
    sections = (
        ("Shared GPUs: any GPU runs any tier", base),
        ("Dedicated GPUs, a change of tier takes 1 s", [replace(c, shared=False, change_cost_s=1.0) for c in base]),
        ("Dedicated GPUs, a change of tier takes 5 s", [replace(c, shared=False, change_cost_s=5.0) for c in base]),
        ("Ten times slower: latencies, SLO and trace times 10", slow),
        ("DiffServe's trace, with its latencies and with the paper's", others),
    )
    lines = [HEAD]
    with ProcessPoolExecutor() as pool:
        for title, cases in sections:
            print(title, file=sys.stderr)
            lines += [f"## {title}", "", *table(pool, cases), ""]
        lines += ["## A world that is not as profiled (shared GPUs, 1to40)", "", *otherwise(pool, base[2]), ""]
        lines += ["## What each part brings (shared GPUs)", "", *parts(pool, base), ""]
    out.write_text("\n".join(lines), "utf-8")
    pictures = out.with_suffix("")
    pictures.mkdir(exist_ok=True)
    for case in base:
        timeline = Timeline()
        summary, _ = case.inputs.run("hadis", GPUS, True, 0.0, 0, lambda o: None, timeline)
        timeline.draw(pictures / f"{case.name}.png", f"{case.name}: quality {summary.quality:.2f}", 6.0)


HEAD = f"""# Policies on the paper's data

Written by `make bench-paper`. Each cell: FID (lower is better) / violations in % of the requests, over a whole trace on
{GPUS} GPUs; policies that draw lots ({", ".join(DRAWS)}) are means of {len(SEEDS)} seeds. Quality is read off the
paper's measured table at the ratios that were realised, in blocks of 200 requests, so an answer that fell back to its
light image counts as not deferred. The table knows only prompts that were routed by difficulty: for `random-mix` and
`proteus`, which route at random, it is an upper bound of what they reach.

All policies use this project's dispatcher: central queues, earliest deadline first, a lighter answer where the chosen
tier would be late ("–" where that is a tier that the table does not have). Where a policy's rule comes from stands in
`profiler/hadis_profiler/replay/policies.py`.
"""

if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
