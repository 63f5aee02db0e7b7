"""How long a worker takes to start, by phase, first requests beside second ones, and `hadis up` to have it back.

    python bench/bench_start.py [ROUNDS]

The worker has two tiers of the example models and one thread, without a GPU. Its phases are those of its own log; what
is before them is the interpreter, the settings and the HTTP server. Prints markdown; exits with 1 where its goal is
missed.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from goals import report_goals

MANIFEST = Path(__file__).parents[1] / "examples/scenes.yaml"
TIERS = ("scenes-small-1", "scenes-large-20")
IMAGE = {"prompt": "a big red circle top left on white"}
REQUEST = "`hadis up`: request"
FIRSTS = (*(f"batch of {tier}" for tier in TIERS), REQUEST)
GOAL = 1.2
PATIENCE_S, POLL_S = 300.0, 0.02
BACK, BACK_GOAL_S = "`hadis up`: a worker killed to its return", 6.0
"""Half of what it took before anything was done about it."""
SERVED_S = 15.0
"""How long it had served: a process that is to replace one does its imports once all workers are ready."""
PHASES = {
    "imports": r"imports took ([\d.]+) s",
    "models": r"models took ([\d.]+) s",
    "warm-up": r"is warm \(([\d.]+) s\)",
}
COMMAND = [sys.executable, "-c", "from hadis.cli import main; main()", "up", str(MANIFEST), "--workers", "1"]

Seconds = dict[str, float]


def main(rounds: int) -> None:
    """Print the table."""
    with httpx.Client(timeout=30) as http:
        runs = [worker_start(http) | up_start(http) for _ in range(rounds)]
    print(f"Of {rounds} runs:\n\n| what | median s | least s |\n|---|---|---|")
    for name in runs[0]:
        values = [run[name] for run in runs]
        print(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} |")
    goals = []
    for what in FIRSTS:
        ratio = statistics.median(run[f"{what}: first"] / run[f"{what}: second"] for run in runs)
        goals.append((f"the first {what} takes at most {GOAL} times the second", f"median {ratio:.2f}", ratio <= GOAL))
    back_s = statistics.median(run[BACK] for run in runs)
    goals.append(
        (f"a worker that is killed is back in under {BACK_GOAL_S:g} s", f"median {back_s:.2f} s", back_s < BACK_GOAL_S)
    )
    sys.exit(report_goals(*goals))


def worker_start(http: httpx.Client) -> Seconds:
    """Start a worker; return the seconds to ready by phase, what it computed until then, and of the first batches."""
    port = free_port()
    settings = {"MANIFEST": str(MANIFEST), "TIERS": ",".join(TIERS), "PORT": str(port), "THREADS": "1", "DEVICE": "cpu"}
    began = time.perf_counter()
    with running([sys.executable, "-m", "hadis_worker"], {f"HADIS_WORKER_{k}": v for k, v in settings.items()}) as it:
        until(lambda: succeeds(http, "GET", f"http://127.0.0.1:{port}/readyz"))
        total = time.perf_counter() - began
        cpu = psutil.Process(it.pid).cpu_times()
        batches = {
            f"batch of {tier}: {which}": batch_s(http, port, tier) for tier in TIERS for which in ("first", "second")
        }
        it.terminate()
        log = it.communicate()[1]
    phases = {name: sum(map(float, re.findall(pattern, log))) for name, pattern in PHASES.items()}
    return {
        "a worker: start to ready": total,
        "of that: before the imports": total - sum(phases.values()),
        **{f"of that: {name}": seconds for name, seconds in phases.items()},
        "CPU time of it": cpu.user + cpu.system,
        **batches,
    }


def batch_s(http: httpx.Client, port: int, tier: str) -> float:
    """Return the seconds of a batch of one image on a worker, judged."""
    job = {"id": "1", "prompt": IMAGE["prompt"], "seed": 1}
    began = time.perf_counter()
    answer = http.post(
        f"http://127.0.0.1:{port}/generate", json={"tier": tier, "jobs": [job], "discriminate": True}
    ).raise_for_status()
    assert b'"error":null' in answer.content, answer.content[:300]
    return time.perf_counter() - began


def request_s(http: httpx.Client, url: str) -> float:
    """Return the seconds of an image from a service."""
    began = time.perf_counter()
    http.post(f"{url}/v1/images/generations", json=IMAGE).raise_for_status()
    return time.perf_counter() - began


def up_start(http: httpx.Client) -> Seconds:
    """Run `hadis up` with one worker; return the seconds to its first image, of requests, and from death to return."""
    port = free_port()
    url, began = f"http://127.0.0.1:{port}", time.perf_counter()
    with running([*COMMAND, "--port", str(port)], {}) as it:
        until(lambda: succeeds(http, "GET", f"{url}/readyz"))
        first_s = request_s(http, url)
        first_image = time.perf_counter() - began
        second_s = request_s(http, url)
        (worker,) = [c for c in psutil.Process(it.pid).children() if c.cmdline()[-1] == "hadis_worker"]
        time.sleep(SERVED_S)
        killed = time.perf_counter()
        worker.kill()
        until(lambda: not workers(http, url))
        until(lambda: workers(http, url))
        back = time.perf_counter() - killed
        it.send_signal(signal.SIGINT)
        it.communicate()
    return {
        "`hadis up`: start to the first image": first_image,
        BACK: back,
        f"{REQUEST}: first": first_s,
        f"{REQUEST}: second": second_s,
    }


@contextmanager
def running(
    command: list[str], variables: dict[str, str], stderr: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    """Run a process, and see it gone at the end."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1"} | variables
    process = subprocess.Popen(command, env=environment, stderr=stderr, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def succeeds(http: httpx.Client, method: str, url: str, **options: Any) -> bool:
    """Return whether a request succeeds."""
    try:
        return http.request(method, url, **options).is_success
    except httpx.HTTPError:
        return False


def workers(http: httpx.Client, url: str) -> bool:
    """Return whether the router has a worker."""
    return bool(http.get(f"{url}/v1/hadis/status").json()["workers"])


def until(check: Callable[[], bool]) -> None:
    """Wait for something; raise TimeoutError when it takes too long."""
    end = time.monotonic() + PATIENCE_S
    while not check():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(POLL_S)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
