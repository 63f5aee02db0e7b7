"""`python -m bench_gpu TABLE`: measure tiers on this machine's GPU for some time, and write what was measured."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer


def main(
    table: Annotated[Path, typer.Argument(help="File to write the table to.")],
    minutes: Annotated[float, typer.Option(help="Time for everything.")] = 9.0,
    tiers: Annotated[str, typer.Option(help="Tiers to measure, with commas; none: all.")] = "",
    steps: Annotated[int, typer.Option(min=0, help="Most steps to measure of a tier; 0: all that it has.")] = 8,
    row_seconds: Annotated[float, typer.Option(help="Most time for a row, compiling included.")] = 150.0,
    tiny: Annotated[bool, typer.Option("--tiny", help="Models of some thousand weights, on the CPU.")] = False,
) -> None:
    """Measure tiers on a GPU."""
    end = time.perf_counter() + minutes * 60
    # Late, for they take some of the time.
    from hadis_worker.gpu import pick_device

    from bench_gpu.floor import matmul_rate
    from bench_gpu.measure import Bench, dtype_of
    from bench_gpu.session import Session
    from bench_gpu.tiers import chosen_subjects, ways_of

    try:
        subjects = chosen_subjects(tiers, steps, tiny)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    device = pick_device("cpu" if tiny else "auto")
    if not tiny and device == "cpu":
        raise typer.BadParameter("torch finds no NVIDIA GPU; --tiny runs tiny models on the CPU")
    rate = matmul_rate(device, dtype_of(device))
    bench = Bench(device, ways_of(device), rate, row_seconds, measure_s=1.0 if tiny else 4.0)
    Session(table, subjects, tiny, end - time.perf_counter()).run(bench)


if __name__ == "__main__":
    typer.run(main)
