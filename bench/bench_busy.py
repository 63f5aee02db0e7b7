"""The demo on a busy machine: `python bench/bench_busy.py`.

`hadis up` serves the example models with two workers while `hadis load` asks for more and more, once alone and once
beside processes that take two cores all the time. Prints markdown; exits with 1 where a goal under it is missed.
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from bench_start import IMAGE, MANIFEST, free_port, running, succeeds, until
from goals import report_goals
from hadis.api.fields import parse_duration_s
from hadis.api.manifest import read_manifest

HADIS = [sys.executable, "-c", "from hadis.cli import main; main()"]
RPS, BUSY_CORES, WIDTH = "1..12", 2, 80
HEAVY = ("heavy", "deferred")
IN_TIME = 0.99


@dataclass(frozen=True)
class Loaded:
    """What `hadis load` saw."""

    requests: int
    in_time: float
    """Share of the requests that were answered within the objective."""
    heavy: float
    """Share of the images that are of a heavy tier."""
    errors: int
    summary: str

    @property
    def readable(self) -> bool:
        """Whether the summary fits into a terminal, and nothing in it is cut."""
        return max(map(len, self.summary.splitlines())) <= WIDTH and "…" not in self.summary

    def row(self, name: str) -> str:
        """Return a row of the table."""
        return f"| {name} | {self.requests} | {self.in_time:.1%} | {self.heavy:.1%} | {self.errors} |"


@contextmanager
def service() -> Iterator[str]:
    """Run the demo, which knows nothing of this machine yet; yields its address once it made an image."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    with (
        tempfile.TemporaryDirectory() as state,
        running(
            [*HADIS, "up", str(MANIFEST), "--port", str(port)], {"XDG_STATE_HOME": state}, stderr=subprocess.DEVNULL
        ) as it,
        httpx.Client(timeout=30) as http,
    ):
        until(lambda: succeeds(http, "POST", f"{url}/v1/images/generations", json=IMAGE))
        yield url
        it.send_signal(signal.SIGINT)
        it.wait()


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """Have so many processes compute all the time."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(running([sys.executable, "-c", "while True: pass"], {}))
        yield


def load(url: str, minutes: float, slo_s: float) -> Loaded:
    """Run `hadis load` in a terminal of 80 columns."""
    with tempfile.TemporaryDirectory() as folder:
        rows_file = Path(folder) / "rows.csv"
        command = [*HADIS, "load", "--rps", RPS, "--minutes", str(minutes), "--csv", str(rows_file), "--url", url]
        environment = os.environ | {"COLUMNS": str(WIDTH)}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        with rows_file.open(newline="") as file:
            rows = list(csv.DictReader(file))
    answered = [row for row in rows if row["status"] == "200"]
    return Loaded(
        requests=len(rows),
        in_time=sum(float(row["latency_s"]) <= slo_s for row in answered) / len(rows),
        heavy=sum(row["path"] in HEAVY for row in answered) / max(1, len(answered)),
        errors=len(rows) - len(answered),
        summary=done.stdout,
    )


def main() -> int:
    """Print the table and the goals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.5, help="of each run")
    minutes = parser.parse_args().minutes
    slo_s = parse_duration_s(read_manifest(MANIFEST).service.spec.objective.latency)
    print(f"`hadis load --rps {RPS} --minutes {minutes:g}`:\n")
    print(
        f"| beside it | requests | within {slo_s:g} s | of a heavy tier | errors |\n|---|---|---|---|---|", flush=True
    )
    with service() as url:
        calm = load(url, minutes, slo_s)
        print(calm.row("nothing"), flush=True)
        with busy_cores(BUSY_CORES):
            busy = load(url, minutes, slo_s)
    print(busy.row(f"{BUSY_CORES} cores taken"), flush=True)
    return report_goals(
        (f"{IN_TIME:.0%} within the objective with {BUSY_CORES} cores taken", f"{busy.in_time:.2%}",
         busy.in_time >= IN_TIME),
        ("by fewer heavy images", f"{busy.heavy:.1%} instead of {calm.heavy:.1%}", busy.heavy < calm.heavy),
        (f"the summary is readable at {WIDTH} columns", f"{max(map(len, busy.summary.splitlines()))} are used",
         calm.readable and busy.readable),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
