"""Compare policies on the paper's measured data: `python bench/bench_paper.py DATA OUT.md`.

Writes a table per setting, each cell judged from the request log alone, and a picture of our own run per trace. DATA is
a folder with the public artifact's traces, prompt features and confidences.
"""

from __future__ import annotations

import csv
import random
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from disturbed import Scale, disturbed, routers
from hadis.api.manifest import read_profile
from hadis.api.tier import BatchLatency
from hadis.planning.profile import Profile
from hadis.planning.tuning import Tuning
from hadis_profiler.replay.inputs import drawn_prompts, read_prompts
from hadis_profiler.replay.plot import Timeline
from hadis_profiler.replay.policies import POLICIES
from hadis_profiler.replay.run import Inputs
from replays import GPUS, PLAN_EVERY_S, Case, Replays, Section, slower

TRACES = ("1to20", "1to32", "1to40", "1to64")
DISTURBED = ("1to20", "1to40")
SEEDS = (0, 1, 2)
DRAWS = ("random-mix", "proteus")
"""Policies that depend on the seed; the others are run once."""
EXAMPLES = Path(__file__).parents[1] / "examples"
DIFFSERVE = {"sdxl-lightning": "sdturbo", "sd35-large": "sdv15"}

WITHOUT: dict[str, tuple[Tuning, float]] = {
    "hadis": (Tuning(), PLAN_EVERY_S),
    "without rows between the measured ones": (Tuning(refine=1), PLAN_EVERY_S),
    "without feedback from the queues": (Tuning(queue_horizon_slos=1e9), PLAN_EVERY_S),
    "without a queue to keep GPUs busy": (Tuning(target_wait=0.0), PLAN_EVERY_S),
    "a plan every 5 s": (Tuning(), 5.0),
}
"""What our policy is made of, one part taken away at a time: its tuning and the seconds from plan to plan."""

PAPER_SCALE = Scale(slow_workers=2, lost_workers=4, burst_rps=100)
SCENES_SCALE = Scale(slow_workers=1, lost_workers=1, burst_rps=30)
SCENES_RPS, SCENES_S = 12, 300
"""A steady demand on the example models, on two workers."""
MANY = 8
"""Times as many GPUs and requests per second: of 128 workers each of several routers owns some."""


def table(replays: Replays, title: str, cases: list[Case]) -> Section:
    """Begin the replays of a table: a row per policy, a column per case."""
    rows = {
        policy: [replays.cell(case, policy, SEEDS if policy in DRAWS else SEEDS[:1]) for case in cases]
        for policy in POLICIES
    }
    return Section(title, ("policy", *(case.name for case in cases)), rows)


def parts(replays: Replays, cases: list[Case]) -> Section:
    """Begin the replays of the table of parts."""
    rows = {
        name: [replays.cell(case, tuning=tuning, plan_every_s=plan_every_s) for case in cases]
        for name, (tuning, plan_every_s) in WITHOUT.items()
    }
    return Section("What each part brings (shared GPUs)", ("policy", *(case.name for case in cases)), rows)


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


def scenes(folder: Path) -> Case:
    """Return a steady demand on the example models; its trace is written into a folder."""
    profile = Profile(read_profile(EXAMPLES / "scenes/profile.yaml"))
    draw, at_s, trace = random.Random(0), 0.0, folder / "scenes.txt"
    with trace.open("w") as file:
        while (at_s := at_s + draw.expovariate(SCENES_RPS)) < SCENES_S:
            file.write(f"{1e3 * at_s:.0f}\n")
    name = f"the example models, 2 workers, SLO 4 s, {SCENES_RPS} requests/s"
    return Case(name, Inputs(profile, drawn_prompts(profile, 0), trace, "4s", 0.95), gpus=2)


def main(data: Path, out: Path) -> None:
    """Run everything."""
    if not data.is_dir():
        print(f"bench-paper is skipped: the paper's data is not at {data}", file=sys.stderr)
        return
    profile = Profile(read_profile(EXAMPLES / "paper/profile.yaml"))
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
    large = base[-1]
    many = replace(
        large, name=f"{large.name}, {MANY} times as fast, {MANY * GPUS} GPUs", gpus=MANY * GPUS,
        inputs=replace(large.inputs, stretch=1 / MANY),
    )  # fmt: skip
    with ProcessPoolExecutor() as pool, tempfile.TemporaryDirectory() as folder:
        replays, example = Replays(pool), scenes(Path(folder))
        sections = [
            table(replays, "Shared GPUs: any GPU runs any tier", base),
            *(
                table(
                    replays, f"Dedicated GPUs, a change of tier takes {seconds:g} s",
                    [replace(case, shared=False, change_cost_s=seconds) for case in base],
                )
                for seconds in (1.0, 5.0)
            ),
            table(replays, "Ten times slower: latencies, SLO and trace times 10", slow),
            table(replays, "DiffServe's trace, with its latencies and with the paper's", others),
            *(disturbed(replays, case, PAPER_SCALE) for case in base if case.name in DISTURBED),
            disturbed(replays, example, SCENES_SCALE),
            routers(replays, [*(case for case in base if case.name in DISTURBED), example, many]),
            parts(replays, base),
        ]  # fmt: skip
        out.write_text("\n".join([HEAD, *(line for section in sections for line in section.lines())]), "utf-8")
    pictures = out.with_suffix("")
    pictures.mkdir(exist_ok=True)
    for case in base:
        timeline = Timeline()
        summary, _ = case.inputs.run("hadis", GPUS, True, 0.0, 0, lambda o: None, timeline)
        timeline.draw(pictures / f"{case.name}.png", f"{case.name}: quality {summary.quality:.2f}", 6.0)


HEAD = f"""# Policies on the paper's data

Written by `make bench-paper`. Each cell: FID (lower is better) / violations in % of the requests, over a whole trace on
{GPUS} GPUs. Policies that draw lots ({", ".join(DRAWS)}), and drawn disturbances, are means of {len(SEEDS)} seeds.
Quality is read off the paper's measured table at the ratios that were realised, in blocks of 200 requests, so an answer
that fell back to its light image counts as not deferred. The table knows only prompts that were routed by difficulty:
for `random-mix` and `proteus`, which route at random, it is an upper bound of what they reach.

All policies use this project's dispatcher: central queues, earliest deadline first, a lighter answer where the chosen
tier would be late ("–" where that is a tier that the table does not have). Where a policy's rule comes from stands in
`profiler/hadis_profiler/replay/policies.py`.
"""

if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
