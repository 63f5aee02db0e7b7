"""`hadis load`: Poisson arrivals of scene prompts on a running router, live progress and a summary."""

from __future__ import annotations

import asyncio
import csv
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich import box
from rich.live import Live
from rich.table import Table

from hadis.cli import fail
from hadis.cli.client import DEFAULT_URL, Key, Url, fetch_status, headers_of
from hadis.cli.scenes import random_scene
from hadis.cli.tables import console
from hadis.protocol.router_status import RouterStatus

_PATHS = ("light", "deferred", "better-light", "kept-light", "heavy")
_MOST_IN_FLIGHT = 2000


@dataclass(frozen=True)
class SentRequest:
    """One request: when it was sent (seconds from the start), what came back, and how long that took."""

    at_s: float
    status: int
    latency_s: float
    path: str
    generation: str


@dataclass
class LoadRun:
    """A load run as it goes: requests so far, and those under way."""

    start_rps: float
    end_rps: float
    duration_s: float
    slo_s: float
    samples: list[SentRequest] = field(default_factory=list)
    in_flight: int = 0
    plan: str = ""

    def rate(self, at_s: float) -> float:
        """Return the requests per second to send at a time (seconds from the start)."""
        return self.start_rps + (self.end_rps - self.start_rps) * min(1.0, at_s / self.duration_s)


def parse_rps(text: str) -> tuple[float, float]:
    """Return (start, end) of "4" or "1..12"; raise ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(?:\.\.(\d+(?:\.\d+)?))?", text)
    if not match or float(match[1]) + float(match[2] or match[1]) <= 0:
        raise ValueError(f"--rps {text}: write a rate such as 4, or a ramp such as 1..12")
    return float(match[1]), float(match[2] or match[1])


def arrivals(run: LoadRun, rng: random.Random) -> list[float]:
    """Return the times of a Poisson process of the run's rate, by thinning (Lewis and Shedler 1979)."""
    peak, at, times = max(run.start_rps, run.end_rps), 0.0, []
    while (at := at + rng.expovariate(peak)) < run.duration_s:
        if rng.random() * peak <= run.rate(at):
            times.append(at)
    return times


def load(
    rps: Annotated[str, typer.Option(help="Requests per second: 4, or a ramp 1..12.")] = "1..12",
    minutes: Annotated[float, typer.Option(min=0.01, help="How long.")] = 3,
    seed: Annotated[int, typer.Option(help="Seed of arrivals and prompts.")] = 0,
    user: Annotated[str | None, typer.Option(help="Send as this client (the request's `user`).")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Also write one row per request to this file.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Send prompts from the scenes' generator at a rate and show what came of them."""
    status = fetch_status(url, key)
    try:
        start, end = parse_rps(rps)
    except ValueError as error:
        raise fail(str(error)) from None
    run = LoadRun(start, end, minutes * 60, status.slo_s)
    out = console()
    with Live(console=out, refresh_per_second=2, get_renderable=lambda: progress(run), transient=True):
        asyncio.run(_drive(run, url, headers_of(key), user, random.Random(seed)))
    out.print(summary(run))
    if csv_file:
        with csv_file.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["at_s", "status", "latency_s", "path", "plan_generation"])
            writer.writerows([s.at_s, s.status, s.latency_s, s.path, s.generation] for s in run.samples)


async def _drive(run: LoadRun, url: str, headers: dict[str, str], user: str | None, rng: random.Random) -> None:
    times = arrivals(run, rng)
    bodies = [{"prompt": str(random_scene(rng)), "user": user} for _ in times]
    limits = httpx.Limits(max_connections=_MOST_IN_FLIGHT, max_keepalive_connections=100)
    timeout = max(60.0, 3 * run.slo_s)
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout, limits=limits) as client:
        watcher = asyncio.create_task(_watch(run, client))
        loop = asyncio.get_running_loop()
        start = loop.time()
        async with asyncio.TaskGroup() as group:
            for at, body in zip(times, bodies, strict=True):
                await asyncio.sleep(start + at - loop.time())
                run.in_flight += 1
                group.create_task(_send(run, client, at, body))
        watcher.cancel()


async def _send(run: LoadRun, client: httpx.AsyncClient, at_s: float, body: dict[str, str | None]) -> None:
    clock = asyncio.get_running_loop().time
    began = clock()
    status, path, generation = 0, "", ""
    try:
        answer = await client.post("/v1/images/generations", json=body)
        status = answer.status_code
        path, generation = (answer.headers.get(f"x-hadis-{name}", "") for name in ("path", "plan-generation"))
    except httpx.HTTPError:
        pass  # status 0: no answer
    run.in_flight -= 1
    run.samples.append(SentRequest(round(at_s, 3), status, round(clock() - began, 4), path, generation))


async def _watch(run: LoadRun, client: httpx.AsyncClient) -> None:
    while True:
        try:
            plan = RouterStatus.read((await client.get("/v1/hadis/status")).content).plan
            run.plan = plan.headline if plan else "none"
        except (httpx.HTTPError, ValueError):
            run.plan = "unknown: the router does not say"
        await asyncio.sleep(1)


def progress(run: LoadRun) -> str:
    """Return one line on where the run is."""
    sent = len(run.samples) + run.in_flight
    last = run.samples[-1].at_s if run.samples else 0.0
    met = sum(_met_slo(s, run.slo_s) for s in run.samples)
    share = f"{met / len(run.samples):.1%} within {run.slo_s:g} s" if run.samples else "no answer yet"
    where = f"{last:5.0f}/{run.duration_s:.0f} s  {run.rate(last):.1f} rps"
    return f"{where}  {sent} sent, {run.in_flight} open, {share}  plan: {run.plan}"


def _met_slo(sample: SentRequest, slo_s: float) -> bool:
    return sample.status == 200 and sample.latency_s <= slo_s


def summary(run: LoadRun, windows: int = 10) -> Table:
    """Return a row for each tenth of the run and one for all of it."""
    title = f"load {run.start_rps:g}..{run.end_rps:g} requests/s, SLO {run.slo_s:g} s"
    # Without lines between its columns it fits into the 80 characters of a terminal.
    table = Table(*_COLUMNS, box=box.SIMPLE_HEAD, show_edge=False, padding=0, title=title)
    for i, column in enumerate(table.columns):
        column.no_wrap, column.justify = True, "right" if i else "left"
    width = run.duration_s / windows
    for i in range(windows):
        table.add_row(
            *_row(f"{i * width:.0f}-{(i + 1) * width:.0f}", _between(run, i * width, (i + 1) * width), run, width)
        )
    table.add_section()
    table.add_row(*_row("all", run.samples, run, run.duration_s))
    return table


_COLUMNS = (
    "seconds",
    "rps",
    "within\nSLO",
    "p50\ns",
    "p95\ns",
    "light",
    "de-\nferred",
    "better\nlight",
    "kept\nlight",
    "direct",
    "re-\nfused",
    "failed",
)


def _between(run: LoadRun, start: float, end: float) -> list[SentRequest]:
    return [s for s in run.samples if start <= s.at_s < end]


def _row(name: str, samples: list[SentRequest], run: LoadRun, seconds: float) -> list[str]:
    if not samples:
        return [name, "0"] + ["-"] * (len(_COLUMNS) - 2)
    good = sorted(s.latency_s for s in samples if s.status == 200)
    paths: Counter[Any] = Counter(s.path for s in samples if s.status == 200)
    refused = sum(s.status in (429, 503) for s in samples)
    return [
        name,
        f"{len(samples) / seconds:.1f}",
        f"{sum(_met_slo(s, run.slo_s) for s in samples) / len(samples):.1%}",
        *(f"{good[min(len(good) - 1, int(q * len(good)))]:.2f}" if good else "-" for q in (0.5, 0.95)),
        *(f"{paths[path] / len(good):.0%}" if good else "-" for path in _PATHS),
        str(refused),
        str(len(samples) - len(good) - refused),
    ]
