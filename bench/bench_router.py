"""How many requests one router process on one core serves, and what it adds to each: `python bench/bench_router.py`.

Workers answer at once with 64 KB images; prompts are distinct. Beside the router, in the same run and with the same
client, a bare FastAPI + aiohttp proxy without queue or difficulty, and LitServe where it is installed
(`pip install '.[bench]'`). Servers are pinned to core 0; the client and the stand-in workers share core 1.
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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
TIERS = ("scenes-small-1", "scenes-large-50")
ROUTER, PROXY, LITSERVE, STUB = 18080, 18081, 18082, 18083
PATHS = {ROUTER: "/v1/images/generations", PROXY: "/v1/images/generations", LITSERVE: "/predict"}


@dataclass(frozen=True)
class Load:
    """One run: requests/s reached, latencies in ms, and requests that failed."""

    rps: float
    p50_ms: float
    p99_ms: float
    failed: int


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


async def load(port: int, prompts: list[str], requests: int, rps: float | None) -> Load:
    """Send requests: as fast as CLIENTS connections go, or at a rate with Poisson arrivals."""
    rng, answers_ms = random.Random(1), list[float | None]()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(30)) as session:
        began = time.perf_counter()
        if rps is None:
            left = iter(range(requests))

            async def client() -> None:
                for i in left:
                    answers_ms.append(await send(session, port, prompts[i % len(prompts)]))

            await asyncio.gather(*(client() for _ in range(CLIENTS)))
        else:
            loop, at = asyncio.get_running_loop(), 0.0
            start = loop.time()

            async def one(i: int) -> None:
                answers_ms.append(await send(session, port, prompts[i % len(prompts)]))

            async with asyncio.TaskGroup() as group:
                for i in range(requests):
                    at += rng.expovariate(rps)
                    await asyncio.sleep(max(0.0, start + at - loop.time()))
                    group.create_task(one(i))
        took = time.perf_counter() - began
    good = [ms for ms in answers_ms if ms is not None]
    cuts = statistics.quantiles(good, n=100) if len(good) > 1 else [float("nan")] * 99
    return Load(len(good) / took, cuts[49], cuts[98], len(answers_ms) - len(good))


async def wait_until_it_answers(port: int, prompts: list[str]) -> None:
    """Wait for the first good answer."""
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        while await send(session, port, prompts[0]) is None:  # noqa: ASYNC110 (another process is waited for)
            await asyncio.sleep(0.2)


def measure(name: str, port: int, prompts: list[str], requests: int, rate: float) -> str:
    """Return a row of the table for a server that runs."""
    asyncio.run(wait_until_it_answers(port, prompts))
    asyncio.run(load(port, prompts, min(2000, requests), None))
    full = asyncio.run(load(port, prompts, requests, None))
    half = asyncio.run(load(port, prompts, int(min(requests, 30 * rate)), rate))
    return (
        f"| {name} | {full.rps:.0f} | {full.p99_ms:.1f} | {half.p50_ms:.1f} | {half.p99_ms:.1f} | "
        f"{full.failed + half.failed} |"
    )


def main() -> None:
    """Print the table, then the router's memory before and after many requests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=6000, help="requests of each run at full speed")
    parser.add_argument("--memory-requests", type=int, default=60_000, help="requests of the memory run; 0: none")
    parser.add_argument("--rate", type=float, default=250.0, help="requests/s of the latency run")
    parser.add_argument("--serve", choices=["stub", "proxy"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        {"stub": serve_stub, "proxy": serve_proxy}[options.serve]()
        return
    os.sched_setaffinity(0, {1})
    rng = random.Random(0)
    prompts = [f"{random_scene(rng)}, number {i}" for i in range(PROMPTS)]
    me, n = str(Path(__file__)), options.requests
    print(
        f"| server on one core | requests/s | p99 ms at full speed | p50 ms at {options.rate:g}/s | p99 ms | failed |"
    )
    print("|---|---|---|---|---|---|", flush=True)
    with process(1, me, "--serve", "stub"):
        with process(0, me, "--serve", "proxy"):
            print(measure("bare FastAPI + aiohttp proxy", PROXY, prompts, n, options.rate), flush=True)
        if importlib.util.find_spec("litserve"):
            with process(0, str(Path(__file__).with_name("litserve_app.py")), str(LITSERVE)):
                print(measure("LitServe", LITSERVE, prompts, n, options.rate), flush=True)
        with router() as pid:
            print(measure("HADIS router", ROUTER, prompts, n, options.rate), flush=True)
            if options.memory_requests:
                memory(pid, prompts, options.memory_requests)


def memory(pid: int, prompts: list[str], requests: int) -> None:
    """Print the router's memory at six moments of a long run."""
    told = [psutil.Process(pid).memory_info().rss / 2**20]
    for _ in range(6):
        asyncio.run(load(ROUTER, prompts, requests // 6, None))
        told.append(psutil.Process(pid).memory_info().rss / 2**20)
    print(f"\nMemory of the router, MiB, at every {requests // 6} requests: {', '.join(f'{m:.0f}' for m in told)}")


if __name__ == "__main__":
    main()
