"""`hadis replay`: what a service would do on a trace."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer
from hadis.api.fields import parse_duration_s
from hadis.api.optimize import Optimize
from hadis.api.resources import ServiceSpec
from hadis.cli.tables import LOWER_IS_BETTER, console, facts
from hadis.planning.fleet import is_shared
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

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
from hadis_profiler.replay.clients import read_clients
from hadis_profiler.replay.disturbance_options import read_disturbances
from hadis_profiler.replay.log import Log
from hadis_profiler.replay.plot import Timeline
from hadis_profiler.replay.policies import POLICIES
from hadis_profiler.replay.quality import Summary
from hadis_profiler.replay.run import Aim
from hadis_profiler.replay.simulate import Outcome, Ran

_DISTURBANCES = "What goes otherwise than the profile says"
SpeedOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Factor on the time of every batch, or of a tier's: 1.5 or TIER=1.5.", rich_help_panel=_DISTURBANCES
    ),
]
NoiseOption = Annotated[
    str,
    typer.Option(
        help="Lognormal noise on each batch's time: its sigma, for example 0.3.", rich_help_panel=_DISTURBANCES
    ),
]
SlowBatchesOption = Annotated[
    list[str] | None,
    typer.Option(help="Share of the batches that take longer, and how much: 0.02x4.", rich_help_panel=_DISTURBANCES),
]
SlowWorkersOption = Annotated[
    list[str] | None, typer.Option(help="Workers that are slower, and how much: 2x4.", rich_help_panel=_DISTURBANCES)
]
ThrottleOption = Annotated[
    list[str] | None,
    typer.Option(help="Seconds in which all are slower, and how much: 100..200x1.6.", rich_help_panel=_DISTURBANCES),
]
LoseOption = Annotated[
    list[str] | None,
    typer.Option(help="Workers that are lost for good, and when: 4@120.", rich_help_panel=_DISTURBANCES),
]
BurstOption = Annotated[
    list[str] | None,
    typer.Option(help="Requests/s on top of the trace, and when: 100@150..165.", rich_help_panel=_DISTURBANCES),
]
BlindOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Seconds in which no router can be read, so that the plan is held: 100..200.",
        rich_help_panel=_DISTURBANCES,
    ),
]
DriftOption = Annotated[
    bool, typer.Option("--drift", help="Prompts get harder towards the end.", rich_help_panel=_DISTURBANCES)
]


def replay_command(
    profile: ProfileOption,
    trace: TraceOption,
    gpus: Annotated[int, typer.Option(min=1, max=4096, help="GPUs.")],
    slo: SloOption,
    gpus_per_worker: GpusPerWorkerOption = 1,
    prompts: PromptsOption = None,
    policy: Annotated[str, typer.Option(help=f"Policy that plans: {', '.join(POLICIES)}.")] = "hadis",
    placement: Annotated[
        Literal["shared", "dedicated"] | None, typer.Option(help="Default: shared if the tiers fit together.")
    ] = None,
    change_cost: Annotated[str, typer.Option(help="Time a dedicated GPU takes to change its tier.")] = "5s",
    attainment: AttainmentOption = 0.99,
    optimize: OptimizeOption = Optimize.QUALITY,
    quality: Annotated[
        float | None,
        typer.Option(min=0, help="Quality to reach (a distance, lower is better); all but Quality need one."),
    ] = None,
    gpu_price: GpuPriceOption = None,
    seed: Annotated[int, typer.Option(help="Seed of all that is random: prompts, policies, disturbances.")] = 0,
    speed: SpeedOption = None,
    noise: NoiseOption = "0",
    slow_batches: SlowBatchesOption = None,
    slow_workers: SlowWorkersOption = None,
    throttle: ThrottleOption = None,
    lose: LoseOption = None,
    burst: BurstOption = None,
    blind: BlindOption = None,
    drift: DriftOption = False,
    routers: Annotated[
        int,
        typer.Option(min=1, max=64, help="Routers at which requests arrive; one owns the queue of up to 127 workers."),
    ] = 1,
    clients: Annotated[
        str | None, typer.Option(help="Shares of the requests by client: 50:1. The summary has a line for each.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Weights of these clients' fair shares, else 1: 1:2.")] = None,
    sizes: SizesOption = None,
    only: OnlyOption = None,
    log: Annotated[Path | None, typer.Option(help="Write a CSV row per request here.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a picture of the run here (PNG, SVG or PDF).")] = None,
) -> None:
    """Run a trace through the router's own dispatcher and control loop on a virtual clock.

    For example: hadis replay --profile examples/scenes/profile.yaml --trace examples/traces/rise.txt --gpus 2 --slo 4s
    """
    with one_line(), contextlib.ExitStack() as stack:
        if policy not in POLICIES:
            raise ValueError(f"--policy {policy}: there are {', '.join(POLICIES)}")
        disturbances = read_disturbances(
            speed=speed or (),
            noise=noise,
            slow_batches=slow_batches or (),
            slow_workers=slow_workers or (),
            throttle=throttle or (),
            lose=lose or (),
            burst=burst or (),
            blind=blind or (),
            drift=drift,
            routers=routers,
        )
        mix = read_clients(clients, weights)
        check_gpus("gpus", gpus, gpus_per_worker)
        aim = Aim(optimize, quality, gpu_price)
        inputs = replace(
            read_inputs(profile, trace, prompts, slo, attainment, seed, sizes, aim, only),
            disturbances=disturbances,
            clients=mix,
            gpus_per_worker=gpus_per_worker,
        )
        spec = ServiceSpec.read({"profile": "p", "gpus": {"max": gpus}, "objective": {"latency": slo}})
        shared = placement == "shared" if placement else is_shared(spec, inputs.profile)
        change_s = 0.0 if shared else parse_duration_s(change_cost)
        timeline = Timeline() if plot else None
        written = stack.enter_context(Log(log, list(inputs.profile.tiers))) if log else None
        record = stack.enter_context(_progress(trace, written))
        summary, ran = inputs.run(policy, gpus, shared, change_s, seed, record, timeline)
        if timeline and plot:
            title = f"{policy}, {gpus} GPUs, SLO {slo}: quality {summary.quality:.2f}"
            timeline.draw(plot, title, parse_duration_s(slo))
    console().print(_table(summary, ran, None if gpu_price is None else gpus * gpu_price))


@contextlib.contextmanager
def _progress(trace: Path, log: Log | None) -> Iterator[Callable[[Outcome], None]]:
    """Show how far the replay is on a terminal; yields what takes each outcome."""
    with trace.open("rb") as file:
        total = sum(1 for _ in file)
    columns = (TextColumn("replaying"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task, seen = progress.add_task("", total=total), 0

        def take(outcome: Outcome) -> None:
            nonlocal seen
            seen += 1
            if seen % 500 == 0:
                progress.update(task, completed=seen)
            if log:
                log.add(outcome)

        yield take


def _table(s: Summary, ran: Ran, hour_money: float | None) -> Table:
    lines = {
        "requests": f"{s.requests}",
        "quality": f"{s.quality:.4g} ({LOWER_IS_BETTER})",
        "violations": f"{s.violations:.3%} ({s.unanswered:.3%} without an image)",
        "latency": f"p50 {s.p50_s:.2f} s, p99 {s.p99_s:.2f} s",
        "answers": ", ".join(f"{name} {count}" for name, count in sorted(s.paths.items())),
        "GPUs busy": f"{ran.busy_share:.1%}",
        "calls": f"{ran.calls / max(1, ran.batches):.2f} per batch, those that a busy worker refused included",
        "forwarded": f"{ran.forwarded} requests, by routers that do not own their queue",
        "speed": f"{ran.virtual_s:.0f} s in {ran.wall_s:.1f} s: {ran.virtual_s / ran.wall_s:.0f} times real time",
    }
    lines |= consumed(s, ran, hour_money)
    by_group = (s.clients if any(s.clients) else {}) | (s.sizes if len(s.sizes) > 1 else {})
    for name, served in by_group.items():
        lines[name] = (
            f"{served.requests} requests, {served.in_time / served.requests:.2%} in time, "
            f"{served.refused / served.requests:.2%} refused"
        )
    return facts(lines.items())
