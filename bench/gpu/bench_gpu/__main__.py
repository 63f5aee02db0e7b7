"""`python -m bench_gpu TABLE`: measure tiers on this machine's GPU for some time, and write what was measured."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

_HERE = Path(__file__).parents[1]


def main(
    table: Annotated[
        Path | None, typer.Argument(help="File to write the table to; none: results.md of this folder, or tiny.md.")
    ] = None,
    minutes: Annotated[float, typer.Option(help="Time for everything.")] = 9.0,
    tiers: Annotated[str, typer.Option(help="Tiers to measure, with commas; none: all.")] = "",
    steps: Annotated[int, typer.Option(min=0, help="Most steps to measure of a tier; 0: all that it has.")] = 8,
    row_seconds: Annotated[float, typer.Option(help="Most time for a row, compiling included.")] = 150.0,
    tiny: Annotated[bool, typer.Option("--tiny", help="Tiny models on the CPU, also where a GPU is.")] = False,
) -> None:
    """Measure tiers on a GPU."""
    end = time.perf_counter() + minutes * 60
    # Late, for they take some of the time.
    from hadis_worker.gpu import pick_device

    from bench_gpu.floor import matmul_rate
    from bench_gpu.measure import Bench, dtype_of
    from bench_gpu.session import Session
    from bench_gpu.tiers import chosen_subjects, ways_of

    device = pick_device("cpu" if tiny else "auto")
    small = device == "cpu"
    if small and not tiny:
        print("torch finds no NVIDIA GPU: tiny models run on the CPU, which times nothing of use", file=sys.stderr)
    try:
        subjects = chosen_subjects(tiers, steps, small)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    table = table or _HERE / ("tiny.md" if small else "results.md")
    rate = matmul_rate(device, dtype_of(device))
    bench = Bench(device, ways_of(device), rate, row_seconds, measure_s=0.3 if small else 4.0)
    Session(table, subjects, small, end - time.perf_counter()).run(bench)
    print(f"written: {table}", file=sys.stderr)


if __name__ == "__main__":
    typer.run(main)
