"""How many requests one router process on one core serves, and what it adds to each: `python bench/bench_router.py`.

Workers answer at once with 64 KB images; prompts are distinct. Beside the router, in the same run and with the same
client, a bare FastAPI + aiohttp proxy without queue or difficulty, and LitServe where it is installed
(`pip install '.[bench]'`). Servers are pinned to core 0; the client and the stand-in workers share core 1.

Figures of two moments say little of each other where a machine has other work. So proxy and router run by turns: the
table has the medians of their runs, and below it are the ratios of runs that followed each other.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import aiohttp
import psutil
from aiohttp import web
from hadis.cli.scenes import random_scene
from hadis.planning.plan import Plan, TierPlan
from hadis.protocol.parts import CONTENT_TYPE
from hadis.protocol.run_state import RunState, WorkerAddress, write_state
from hadis.protocol.worker import JobResult, encode_answer

MANIFEST = Path(__file__).parents[1] / "examples/scenes.yaml"
IMAGE = random.Random(0).randbytes(64 * 1024)
WORKERS, CLIENTS, PROMPTS = 16, 32, 5000
TIERS = ("scenes-small-1", "scenes-large-20")
ROUTER, PROXY, LITSERVE, STUB = 18080, 18081, 18082, 18083
PATHS = {ROUTER: "/v1/images/generations", PROXY: "/v1/images/generations", LITSERVE: "/predict"}


@dataclass(frozen=True)
class Load:
    """One run: requests/s reached, the server's CPU per request and latencies in ms, and requests that failed."""

    rps: float
    cpu_ms: float
    p50_ms: float
    p99_ms: float
    failed: int


@dataclass(frozen=True)
class Server:
    """A server that runs: its row's name, its port, and its process number."""

    name: str
    port: int
    pid: int


def serve_stub() -> None:
    """Answer /generate of any worker at once."""
    rng = random.Random(0)

    async def generate(request: web.Request) -> web.Response:
        jobs = (await request.json())["jobs"]
        results = [JobResult(id=job["id"], confidence=rng.random(), service_s=0.001) for job in jobs]
        body = encode_answer(results, [("png", IMAGE)] * len(jobs))
        return web.Response(body=body, headers={"content-type": CONTENT_TYPE})

    app = web.Application(client_max_size=2**24)
    app.router.add_post("/{worker}/generate", generate)
    web.run_app(app, host="127.0.0.1", port=STUB, print=None, access_log=None)


def serve_proxy() -> None:
    """Pass a request on to one worker and its image back, and do nothing else."""
    import uvicorn
    from fastapi import FastAPI, Request, Response
    from hadis.protocol.worker import decode_answer

    app, sessions = FastAPI(), list[aiohttp.ClientSession]()

    async def generate(request: Request) -> Response:
        if not sessions:
            sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        prompt = (await request.json())["prompt"]
        body = {"tier": TIERS[0], "jobs": [{"id": "1", "prompt": prompt, "seed": 1}], "discriminate": True}
        async with sessions[0].post(f"http://127.0.0.1:{STUB}/w0/generate", json=body) as answer:
            image = decode_answer(await answer.read())[0][1]
        text = json.dumps({"created": 0, "data": [{"b64_json": base64.b64encode(image or b"").decode()}]})
        return Response(text, media_type="application/json")

    # Not by decorator: annotations of a nested function are not resolved there.
    app.router.add_route(PATHS[PROXY], generate, methods=["POST"])
    uvicorn.run(app, host="127.0.0.1", port=PROXY, log_level="error", access_log=False)


@contextmanager
def process(core: int, *words: str, **env: str) -> Iterator[int]:
    """Run a program on one core; yields its process number."""
    command = ["taskset", "-c", str(core), sys.executable, *words]
    child = subprocess.Popen(command, env=os.environ | env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield child.pid
    finally:
        for each in [*psutil.Process(child.pid).children(recursive=True), psutil.Process(child.pid)]:
            each.kill()
        child.wait()


@contextmanager
def router() -> Iterator[int]:
    """Run our router with a plan that defers and routes to both tiers."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state.json"
        tiers = tuple(TierPlan(tier, WORKERS // 2, 4) for tier in TIERS)
        plan = Plan(*TIERS, 0.2, 0.2, tiers, 500, 0.1, 0.1, 0.5, generation=1)
        addresses = tuple(WorkerAddress(f"http://127.0.0.1:{STUB}/w{i}", TIERS) for i in range(WORKERS))
        write_state(state, RunState(plan, addresses))
        env = {"HADIS_ROUTER_MANIFEST": str(MANIFEST), "HADIS_ROUTER_STATE_FILE": str(state),
               "HADIS_ROUTER_PORT": str(ROUTER)}  # fmt: skip
        with process(0, "-m", "hadis_router", **env) as pid:
            yield pid


async def send(session: aiohttp.ClientSession, port: int, prompt: str) -> float | None:
    """Return the milliseconds of one request; None for one that failed."""
    began = time.perf_counter()
    try:
        async with session.post(f"http://127.0.0.1:{port}{PATHS[port]}", json={"prompt": prompt}) as answer:
            body = await answer.read()
            return (time.perf_counter() - began) * 1e3 if answer.status == 200 and len(body) > len(IMAGE) else None
    except aiohttp.ClientError:
        return None


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process and its children have used."""
    every = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sum(sum(each.cpu_times()[:2]) for each in every)


def load(server: Server, prompts: Iterator[str], requests: int, rps: float | None = None) -> Load:
    """Send requests: as fast as CLIENTS connections go, or at a rate with Poisson arrivals."""
    before_s, began = cpu_s(server.pid), time.perf_counter()
    answers_ms = asyncio.run(send_all(server.port, prompts, requests, rps))
    took, used_s = time.perf_counter() - began, cpu_s(server.pid) - before_s
    good = [ms for ms in answers_ms if ms is not None]
    cuts = statistics.quantiles(good, n=100) if len(good) > 1 else [float("nan")] * 99
    return Load(len(good) / took, used_s / requests * 1e3, cuts[49], cuts[98], requests - len(good))


async def send_all(port: int, prompts: Iterator[str], requests: int, rps: float | None) -> list[float | None]:
    """Return what `send` says of each request."""
    rng, answers_ms = random.Random(1), list[float | None]()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(30)) as session:
        if rps is None:
            left = iter(range(requests))

            async def client() -> None:
                for _ in left:
                    answers_ms.append(await send(session, port, next(prompts)))

            await asyncio.gather(*(client() for _ in range(CLIENTS)))
        else:
            loop, at = asyncio.get_running_loop(), 0.0
            start = loop.time()

            async def one() -> None:
                answers_ms.append(await send(session, port, next(prompts)))

            async with asyncio.TaskGroup() as group:
                for _ in range(requests):
                    at += rng.expovariate(rps)
                    await asyncio.sleep(max(0.0, start + at - loop.time()))
                    group.create_task(one())
    return answers_ms


async def wait_until_it_answers(port: int, prompts: Iterator[str]) -> None:
    """Wait for the first good answer."""
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        while await send(session, port, next(prompts)) is None:  # noqa: ASYNC110 (another process is waited for)
            await asyncio.sleep(0.2)


def warm_up(server: Server, prompts: Iterator[str], requests: int) -> None:
    """Wait for a server, and let it meet most words once."""
    asyncio.run(wait_until_it_answers(server.port, prompts))
    load(server, prompts, min(2000, requests))


def row(server: Server, full: Sequence[Load], prompts: Iterator[str], rate: float) -> str:
    """Return a row of the table: the medians of its runs at full speed, and the latencies at a rate."""
    rps, cpu_ms = statistics.median(each.rps for each in full), statistics.median(each.cpu_ms for each in full)
    p99_ms = statistics.median(each.p99_ms for each in full)
    half = load(server, prompts, int(20 * rate), rate)
    failed = half.failed + sum(each.failed for each in full)
    cells = f"{rps:.0f}", f"{cpu_ms:.2f}", f"{p99_ms:.1f}", f"{half.p50_ms:.1f}", f"{half.p99_ms:.1f}", str(failed)
    return f"| {server.name} | {' | '.join(cells)} |"


def compare(
    proxy: Server, ours: Server, prompts: Iterator[str], requests: int, pairs: int, rate: float
) -> Iterator[str]:
    """Yield a row of each of two servers that run by turns, and their ratios."""
    for server in (proxy, ours):
        warm_up(server, prompts, requests)
    runs = [(load(proxy, prompts, requests), load(ours, prompts, requests)) for _ in range(pairs)]
    yield row(proxy, [run for run, _ in runs], prompts, rate)
    yield row(ours, [run for _, run in runs], prompts, rate)
    speeds, costs = [b.rps / a.rps for a, b in runs], [b.cpu_ms / a.cpu_ms for a, b in runs]
    yield (
        f"\nThe router through the bare proxy, median (least to most) of {pairs} pairs of runs: requests/s "
        f"{_spread(speeds)}, CPU per request {_spread(costs)}."
    )


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Print the table, then the router's memory before and after many requests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=3000, help="requests of each run at full speed")
    parser.add_argument("--pairs", type=int, default=5, help="runs at full speed of each server")
    parser.add_argument("--memory-requests", type=int, default=60_000, help="requests of the memory run; 0: none")
    parser.add_argument("--rate", type=float, default=250.0, help="requests/s of the latency run")
    parser.add_argument("--serve", choices=["stub", "proxy"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        {"stub": serve_stub, "proxy": serve_proxy}[options.serve]()
        return
    os.sched_setaffinity(0, {1})
    rng = random.Random(0)
    prompts = cycle([f"{random_scene(rng)}, number {i}" for i in range(PROMPTS)])
    me, n = str(Path(__file__)), options.requests
    print(
        "| server on one core | requests/s | server CPU ms per request | p99 ms at full speed | "
        f"p50 ms at {options.rate:g}/s | p99 ms | failed |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    with process(1, me, "--serve", "stub"):
        if importlib.util.find_spec("litserve"):
            with process(0, str(Path(__file__).with_name("litserve_app.py")), str(LITSERVE)) as pid:
                litserve = Server("LitServe", LITSERVE, pid)
                warm_up(litserve, prompts, n)
                print(row(litserve, [load(litserve, prompts, n)], prompts, options.rate), flush=True)
        with process(0, me, "--serve", "proxy") as proxy_pid, router() as pid:
            proxy, ours = Server("bare FastAPI + aiohttp proxy", PROXY, proxy_pid), Server("HADIS router", ROUTER, pid)
            for line in compare(proxy, ours, prompts, n, options.pairs, options.rate):
                print(line, flush=True)
            if options.memory_requests:
                memory(ours, prompts, options.memory_requests)


def memory(server: Server, prompts: Iterator[str], requests: int) -> None:
    """Print a server's memory at six moments of a long run."""
    megabytes = [psutil.Process(server.pid).memory_info().rss / 2**20]
    for _ in range(6):
        load(server, prompts, requests // 6)
        megabytes.append(psutil.Process(server.pid).memory_info().rss / 2**20)
    print(f"\nMemory of the router, MiB, at every {requests // 6} requests: {', '.join(f'{m:.0f}' for m in megabytes)}")


if __name__ == "__main__":
    main()
