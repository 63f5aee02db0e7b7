"""`hadis size`: the fewest GPUs on which a trace is served well enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from hadis.api.optimize import Optimize
from hadis.api.resources import ServiceSpec
from hadis.cli import fail
from hadis.cli.tables import LOWER_IS_BETTER, columns, console
from hadis.planning.fleet import is_shared

from hadis_profiler.commands.trace_options import (
    AttainmentOption,
    GpuPriceOption,
    GpusPerWorkerOption,
    OnlyOption,
    OptimizeOption,
    ProfileOption,
    PromptsOption,
    SizesOption,
    SloOption,
    TraceOption,
    check_gpus,
    consumed,
    one_line,
    read_inputs,
)
from hadis_profiler.replay.plot import draw_sizes
from hadis_profiler.replay.quality import Summary
from hadis_profiler.replay.run import Aim
from hadis_profiler.replay.simulate import Ran


def size_command(
    profile: ProfileOption,
    trace: TraceOption,
    slo: SloOption,
    quality: Annotated[float, typer.Option(min=0, help="Quality to reach (a distance, lower is better).")],
    gpus_per_worker: GpusPerWorkerOption = 1,
    prompts: PromptsOption = None,
    max_gpus: Annotated[int, typer.Option(min=1, max=4096, help="Most GPUs to try.")] = 256,
    attainment: AttainmentOption = 0.99,
    sizes: SizesOption = None,
    only: OnlyOption = None,
    optimize: OptimizeOption = Optimize.QUALITY,
    gpu_price: GpuPriceOption = None,
    seed: Annotated[int, typer.Option(help="Seed of all that is random.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(help="Write a picture of quality and violations against GPUs here.")
    ] = None,
) -> None:
    """Find the fewest GPUs on which a trace is served at a quality within the SLO.

    For example: hadis size --profile examples/scenes/profile.yaml --trace examples/traces/rise.txt --slo 4s
    --quality 0.11
    """
    with one_line():
        check_gpus("max-gpus", max_gpus, gpus_per_worker)
        aim = Aim(optimize, quality or None, gpu_price)
        inputs = replace(
            read_inputs(profile, trace, prompts, slo, attainment, seed, sizes, aim, only),
            gpus_per_worker=gpus_per_worker,
        )
        spec = ServiceSpec.read({"profile": "p", "gpus": {"max": 1}, "objective": {"latency": slo}})
        shared = is_shared(spec, inputs.profile)
        with console(stderr=True).status("replaying") as status:
            seen: dict[int, tuple[Summary, Ran]] = {}

            def enough(workers: int) -> bool:
                gpus = workers * gpus_per_worker
                if gpus not in seen:
                    status.update(f"replaying on {gpus} GPUs")
                    seen[gpus] = inputs.run("hadis", gpus, shared, 0.0, seed, lambda o: None)
                return good(seen[gpus][0])

            def good(s: Summary) -> bool:
                return s.quality <= quality and s.violations <= 1 - attainment

            workers = fewest_workers(enough, max_gpus // gpus_per_worker)
        rows = [(n, s.quality, s.violations) for n, (s, _) in sorted(seen.items())]
        if plot:
            draw_sizes(plot, rows, quality, 1 - attainment)
    table = columns("GPUs", "quality", "violations", "p99", "enough", caption=f"quality: {LOWER_IS_BETTER}")
    for n, (s, _) in sorted(seen.items()):
        enough_here = "yes" if good(s) else "no"
        table.add_row(str(n), f"{s.quality:.4g}", f"{s.violations:.2%}", f"{s.p99_s:.2f} s", enough_here)
    console().print(table)
    if workers is None:
        raise fail(f"{max_gpus} GPUs do not reach quality {quality:g} within {slo}; ask for less, or raise --max-gpus")
    fewest = workers * gpus_per_worker
    facts_of_fewest = consumed(*seen[fewest], None if gpu_price is None else fewest * gpu_price)
    extra = [f"{name}: {text}" for name, text in facts_of_fewest.items()] + ([f"picture: {plot}"] if plot else [])
    console().print("; ".join([f"{fewest} GPU{'s' * (fewest > 1)}", *extra]))


def fewest_workers(enough: Callable[[int], bool], most: int) -> int | None:
    """Return the fewest workers that are enough, by doubling and halving; None where `most` are not."""
    high = 1
    while not enough(high):
        if high == most:
            return None
        high = min(most, 2 * high)
    low = high // 2 + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high
