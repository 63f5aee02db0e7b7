"""`hadis replay` and `hadis size`: what a service would do on a trace, and how many GPUs it needs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import typer
from hadis.api.fields import parse_duration_s
from hadis.api.manifest import ManifestError, read_profile
from hadis.api.resources import ServiceSpec
from hadis.cli import fail
from hadis.planning.fleet import is_shared
from hadis.planning.profile import Profile
from hadis.planning.tuning import Tuning
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from hadis_profiler.replay.clients import ClientMix, read_clients
from hadis_profiler.replay.disturbances import Disturbances, disturbed_arrivals, read_disturbances
from hadis_profiler.replay.inputs import InputError, ScoredPrompts, drawn_prompts, read_prompts, read_trace
from hadis_profiler.replay.log import Log
from hadis_profiler.replay.plot import Timeline, draw_sizes
from hadis_profiler.replay.policies import PLAN_EVERY_S, POLICIES, Making
from hadis_profiler.replay.quality import Judge, Summary
from hadis_profiler.replay.simulate import Outcome, Ran, Setting, replay

ProfileOption = Annotated[Path, typer.Option("--profile", help="YAML with a CascadeProfile.")]
TraceOption = Annotated[Path, typer.Option("--trace", help="Lines of arrival_ms,prompt_index (the index may lack).")]
PromptsOption = Annotated[
    Path | None,
    typer.Option("--prompts", help="Folder with prompt_features.csv and confidence/model_K.txt; default: drawn."),
]
SloOption = Annotated[str, typer.Option("--slo", help="Latency objective, for example 6s.")]
AttainmentOption = Annotated[float, typer.Option(min=0.5, max=0.9999, help="Share of requests within the SLO.")]

_WORLD = "What goes otherwise than the profile says"
SpeedOption = Annotated[
    list[str] | None,
    typer.Option(help="Times of all batches, or of a tier's, times this: 1.5 or TIER=1.5.", rich_help_panel=_WORLD),
]
NoiseOption = Annotated[
    str, typer.Option(help="Lognormal noise on each batch's time: its sigma, for example 0.3.", rich_help_panel=_WORLD)
]
SlowBatchesOption = Annotated[
    list[str] | None,
    typer.Option(help="Share of the batches that take longer, and how much: 0.02x4.", rich_help_panel=_WORLD),
]
SlowWorkersOption = Annotated[
    list[str] | None, typer.Option(help="Workers that are slower, and how much: 2x4.", rich_help_panel=_WORLD)
]
ThrottleOption = Annotated[
    list[str] | None,
    typer.Option(help="Seconds in which all are slower, and how much: 100..200x1.6.", rich_help_panel=_WORLD),
]
LoseOption = Annotated[
    list[str] | None, typer.Option(help="Workers that are lost for good, and when: 4@120.", rich_help_panel=_WORLD)
]
BurstOption = Annotated[
    list[str] | None,
    typer.Option(help="Requests/s on top of the trace, and when: 100@150..165.", rich_help_panel=_WORLD),
]
DriftOption = Annotated[
    bool, typer.Option("--drift", help="Prompts get harder towards the end.", rich_help_panel=_WORLD)
]


@dataclass(frozen=True)
class Inputs:
    """What one replay needs, read and checked."""

    profile: Profile
    prompts: ScoredPrompts
    trace: Path
    slo: str
    attainment: float
    stretch: float = 1.0
    disturbances: Disturbances = Disturbances()
    clients: ClientMix = ClientMix()

    @cached_property
    def end_s(self) -> float:
        """When the last request of the trace arrives."""
        return max((at_s for at_s, _ in read_trace(self.trace, len(self.prompts), self.stretch)), default=0.0)

    def run(
        self,
        policy: str,
        gpus: int,
        shared: bool,
        change_cost_s: float,
        seed: int,
        record: Callable[[Outcome], None],
        timeline: Timeline | None = None,
        tuning: Tuning = Tuning(),
        plan_every_s: float = PLAN_EVERY_S,
    ) -> tuple[Summary, Ran]:
        """Replay once; every outcome also goes to `record`. `plan_every_s` is the period of our own control step."""
        slo_s = parse_duration_s(self.slo)
        profile = with_load_seconds(self.profile, change_cost_s)
        spec = ServiceSpec.read(
            {
                "profile": profile.resource.metadata.name,
                "gpus": {"min": gpus, "max": gpus},  # a GPU that is there costs the same when it idles
                "objective": {"latency": self.slo, "attainment": self.attainment},
                "placement": "Shared" if shared else "Dedicated",
            }
        )
        named = POLICIES[policy](Making(profile, slo_s, seed, tuning, plan_every_s))
        judge = Judge(profile, slo_s)

        def take(outcome: Outcome) -> None:
            judge.add(outcome)
            record(outcome)
            if timeline:
                timeline.add(outcome)

        arrivals = read_trace(self.trace, len(self.prompts), self.stretch)
        if self.disturbances != Disturbances():
            self.disturbances.check(list(profile.tiers), gpus, self.end_s)
            by_difficulty = self.prompts.difficulty.argsort(kind="stable").tolist()
            arrivals = disturbed_arrivals(arrivals, self.disturbances, by_difficulty, self.end_s, seed)
        setting = Setting(profile, spec, change_cost_s, disturbances=self.disturbances, seed=seed, clients=self.clients)
        planned = timeline.planned if timeline else lambda at, plan: None
        ran = replay(setting, named.policy, arrivals, self.prompts, take, named.score, planned)
        return judge.summary(), ran


def with_load_seconds(profile: Profile, seconds: float) -> Profile:
    """Return the profile with this time for every change of tier."""
    spec = profile.resource.spec
    tiers = tuple(tier.model_copy(update={"load_seconds": seconds}) for tier in spec.tiers)
    return Profile(profile.resource.model_copy(update={"spec": spec.model_copy(update={"tiers": tiers})}))


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """Turn what a person can mend into one line and exit code 2."""
    try:
        yield
    except (InputError, ManifestError, ValueError, OSError) as error:
        raise fail(str(error).replace("\n", "; ")) from None


def _read(profile: Path, trace: Path, prompts: Path | None, slo: str, attainment: float, seed: int) -> Inputs:
    found = Profile(read_profile(profile))
    some = read_prompts(prompts, found) if prompts else drawn_prompts(found, seed)
    if parse_duration_s(slo) <= 0:
        raise ValueError(f"--slo {slo}: must be longer than nothing")
    return Inputs(found, some, trace, slo, attainment)


def replay_command(
    profile: ProfileOption,
    trace: TraceOption,
    gpus: Annotated[int, typer.Option(min=1, max=4096, help="GPUs.")],
    slo: SloOption,
    prompts: PromptsOption = None,
    policy: Annotated[str, typer.Option(help=f"Who plans: {', '.join(POLICIES)}.")] = "hadis",
    placement: Annotated[
        Literal["shared", "dedicated"] | None, typer.Option(help="Default: shared if the tiers fit together.")
    ] = None,
    change_cost: Annotated[str, typer.Option(help="Time a dedicated GPU takes to change its tier.")] = "5s",
    attainment: AttainmentOption = 0.99,
    seed: Annotated[int, typer.Option(help="Of whatever is drawn: prompts, policies, disturbances.")] = 0,
    speed: SpeedOption = None,
    noise: NoiseOption = "0",
    slow_batches: SlowBatchesOption = None,
    slow_workers: SlowWorkersOption = None,
    throttle: ThrottleOption = None,
    lose: LoseOption = None,
    burst: BurstOption = None,
    drift: DriftOption = False,
    routers: Annotated[
        int,
        typer.Option(min=1, max=64, help="Routers at which requests arrive; one owns the queue of up to 127 workers."),
    ] = 1,
    clients: Annotated[
        str | None, typer.Option(help="Shares of the requests by client: 50:1. Each is told of in the summary.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Weights of these clients' fair shares, else 1: 1:2.")] = None,
    log: Annotated[Path | None, typer.Option(help="Write a CSV row per request here.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a picture of the run here (PNG, SVG or PDF).")] = None,
) -> None:
    """Run a trace through the router's own dispatcher and control loop on a virtual clock."""
    with _one_line(), contextlib.ExitStack() as stack:
        if policy not in POLICIES:
            raise ValueError(f"--policy {policy}: there are {', '.join(POLICIES)}")
        disturbances = read_disturbances(
            speed=speed or (), noise=noise, slow_batches=slow_batches or (), slow_workers=slow_workers or (),
            throttle=throttle or (), lose=lose or (), burst=burst or (), drift=drift, routers=routers,
        )  # fmt: skip
        mix = read_clients(clients, weights)
        inputs = replace(_read(profile, trace, prompts, slo, attainment, seed), disturbances=disturbances, clients=mix)
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
    Console().print(_table(summary, ran))


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


def _table(s: Summary, ran: Ran) -> Table:
    table = Table(show_header=False, box=None)
    facts = {
        "requests": f"{s.requests}",
        "quality": f"{s.quality:.3f}",
        "violations": f"{s.violations:.3%} ({s.unanswered:.3%} without an image)",
        "latency": f"p50 {s.p50_s:.2f} s, p99 {s.p99_s:.2f} s",
        "answers": ", ".join(f"{name} {count}" for name, count in sorted(s.paths.items())),
        "GPUs busy": f"{ran.busy_share:.1%}",
        "calls": f"{ran.calls / max(1, ran.batches):.2f} per batch, those that a busy worker refused included",
        "forwarded": f"{ran.forwarded} requests, by routers that do not own their queue",
        "speed": f"{ran.virtual_s:.0f} s in {ran.wall_s:.1f} s: {ran.virtual_s / ran.wall_s:.0f} times real time",
    }
    for name, served in s.clients.items() if any(s.clients) else ():
        facts[name] = (
            f"{served.requests} requests, {served.in_time / served.requests:.2%} in time, "
            f"{served.refused / served.requests:.2%} refused"
        )
    for name, value in facts.items():
        table.add_row(name, value)
    return table


def size_command(
    profile: ProfileOption,
    trace: TraceOption,
    slo: SloOption,
    quality: Annotated[float, typer.Option(min=0, help="Quality to reach (a distance, lower is better).")],
    prompts: PromptsOption = None,
    max_gpus: Annotated[int, typer.Option(min=1, max=4096, help="Look no further than this.")] = 256,
    attainment: AttainmentOption = 0.99,
    seed: Annotated[int, typer.Option(help="Of drawn prompts.")] = 0,
    plot: Annotated[Path | None, typer.Option(help="Picture of quality and violations against GPUs.")] = Path(
        "size.png"
    ),
) -> None:
    """Find the fewest GPUs on which a trace is served at a quality within the SLO."""
    with _one_line():
        inputs = _read(profile, trace, prompts, slo, attainment, seed)
        spec = ServiceSpec.read({"profile": "p", "gpus": {"max": 1}, "objective": {"latency": slo}})
        shared = is_shared(spec, inputs.profile)
        with Console(stderr=True).status("replaying") as status:
            seen: dict[int, Summary] = {}

            def enough(gpus: int) -> bool:
                if gpus not in seen:
                    status.update(f"replaying on {gpus} GPUs")
                    seen[gpus] = inputs.run("hadis", gpus, shared, 0.0, seed, lambda o: None)[0]
                return seen[gpus].quality <= quality and seen[gpus].violations <= 1 - attainment

            fewest = fewest_gpus(enough, max_gpus)
        rows = [(n, s.quality, s.violations) for n, s in sorted(seen.items())]
        if plot:
            draw_sizes(plot, rows, quality, 1 - attainment)
    table = Table("GPUs", "quality", "violations", "p99 s", "enough")
    for n, s in sorted(seen.items()):
        good = s.quality <= quality and s.violations <= 1 - attainment
        table.add_row(str(n), f"{s.quality:.3f}", f"{s.violations:.2%}", f"{s.p99_s:.2f}", "yes" if good else "no")
    Console().print(table)
    if fewest is None:
        raise fail(f"{max_gpus} GPUs do not reach quality {quality:g} within {slo}; ask for less, or raise --max-gpus")
    Console().print(f"{fewest} GPUs" + (f"; picture: {plot}" if plot else ""))


def fewest_gpus(enough: Callable[[int], bool], most: int) -> int | None:
    """Return the fewest GPUs that are enough, by doubling and halving; None where `most` are not."""
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
