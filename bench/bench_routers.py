"""What several routers of one service cost, up to 8 routers and 512 workers: `python bench/bench_routers.py`.

Workers are stand-ins that take a batch's time, refuse a second batch with 409, and count their calls. Requests arrive
at all routers alike. A decision is where a request goes, or a batch that begins. All routers share core 0; the client
and the stand-ins share core 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import psutil
from aiohttp import web
from bench_router import MANIFEST, PROMPTS, TIERS, process
from hadis.cli.scenes import random_scene
from hadis.planning.plan import Plan, TierPlan
from hadis.protocol.parts import CONTENT_TYPE
from hadis.protocol.run_state import RunState, WorkerAddress, write_state
from hadis.protocol.worker import JobResult, encode_answer

STUB, FIRST_PORT = 18183, 18200
IMAGE = random.Random(0).randbytes(64 * 1024)
BATCH_S = {TIERS[0]: 0.1, TIERS[1]: 0.8}
CASES = ((1, 16), (8, 16), (1, 128), (8, 128), (1, 512), (8, 512))
"""(routers, workers)"""


def serve_workers() -> None:
    """Be every worker; `/counts` says how many calls came, and how many of them were batches."""
    rng, busy, counts = random.Random(0), set[str](), Counter[str]()

    async def generate(request: web.Request) -> web.Response:
        worker, document = request.match_info["worker"], await request.json()
        counts["calls"] += 1
        if worker in busy:
            return web.Response(status=409)
        counts["batches"] += 1
        busy.add(worker)
        await asyncio.sleep(BATCH_S[document["tier"]])
        busy.remove(worker)
        results = [JobResult(id=job["id"], confidence=rng.random(), service_s=0.1) for job in document["jobs"]]
        return web.Response(body=encode_answer(results, [("png", IMAGE)] * len(results)), content_type=None,
                            headers={"content-type": CONTENT_TYPE})  # fmt: skip

    async def count_report(_: web.Request) -> web.Response:
        return web.json_response(counts)

    app = web.Application(client_max_size=2**24)
    app.router.add_post("/{worker}/generate", generate)
    app.router.add_get("/counts", count_report)
    web.run_app(app, host="127.0.0.1", port=STUB, print=None, access_log=None)


async def send(session: aiohttp.ClientSession, port: int, prompt: str) -> float | None:
    """Return the milliseconds until an image came; None if none did."""
    began = time.perf_counter()
    try:
        async with session.post(f"http://127.0.0.1:{port}/v1/images/generations", json={"prompt": prompt}) as answer:
            good = answer.status == 200 and len(await answer.read()) > len(IMAGE)
            return (time.perf_counter() - began) * 1e3 if good else None
    except (aiohttp.ClientError, TimeoutError):
        return None


async def load(ports: list[int], prompts: list[str], rps: float, seconds: float) -> list[float | None]:
    """Send requests with Poisson arrivals, each to the next router; return what `send` says of each."""
    rng, loop, at = random.Random(1), asyncio.get_running_loop(), 0.0
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(30)) as session:
        start, sent = loop.time(), []
        async with asyncio.TaskGroup() as group:
            while (at := at + rng.expovariate(rps)) < seconds:
                await asyncio.sleep(max(0.0, start + at - loop.time()))
                i = len(sent)
                sent.append(group.create_task(send(session, ports[i % len(ports)], prompts[i % len(prompts)])))
    return [task.result() for task in sent]


async def get(url: str) -> str:
    """Return the text at an address."""
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.text()


async def until_ready(ports: list[int]) -> None:
    """Wait until every router serves."""
    async with asyncio.timeout(120):
        for port in ports:
            while True:
                try:
                    if "ok" in await get(f"http://127.0.0.1:{port}/readyz"):
                        break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.2)


def measure(routers: int, workers: int, rps: float, seconds: float, prompts: list[str]) -> str:
    """Return a row of the table."""
    ports = [FIRST_PORT + i for i in range(routers)]
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        state = Path(folder) / "state.json"
        tiers = tuple(TierPlan(tier, workers // 2, 4) for tier in TIERS)
        plan = Plan(*TIERS, 0.1, 0.1, tiers, rps, 0.1, 0.1, 0.5, generation=1)
        addresses = tuple(WorkerAddress(f"http://127.0.0.1:{STUB}/w{i}", TIERS) for i in range(workers))
        write_state(state, RunState(plan, addresses, routers=tuple(f"http://127.0.0.1:{port}" for port in ports)))
        stack.enter_context(process(1, __file__, "--workers"))
        env = {"HADIS_ROUTER_MANIFEST": str(MANIFEST), "HADIS_ROUTER_STATE_FILE": str(state),
               "HADIS_ROUTER_ADDRESS": "127.0.0.1"}  # fmt: skip
        started = (process(0, "-m", "hadis_router", **env, HADIS_ROUTER_PORT=str(port)) for port in ports)
        processes = [psutil.Process(stack.enter_context(each)) for each in started]
        asyncio.run(until_ready(ports))
        asyncio.run(load(ports, prompts, rps / 4, 4))
        before, cpu_s = json.loads(asyncio.run(get(f"http://127.0.0.1:{STUB}/counts"))), spent_s(processes)
        began = time.perf_counter()
        answers_ms = asyncio.run(load(ports, prompts, rps, seconds))
        took_s = time.perf_counter() - began
        after = json.loads(asyncio.run(get(f"http://127.0.0.1:{STUB}/counts")))
        cpu_s = [end - start for start, end in zip(cpu_s, spent_s(processes), strict=True)]
    batches, calls = after["batches"] - before["batches"], after["calls"] - before["calls"]
    decisions = len(answers_ms) + batches  # where each request goes, and each batch that begins
    good = [ms for ms in answers_ms if ms is not None]
    busiest, mean = (100 * each / took_s for each in (max(cpu_s), statistics.mean(cpu_s)))
    return (
        f"| {routers} | {workers} | {calls / batches:.3f} | {batches / took_s:.0f} | {decisions / took_s:.0f} | "
        f"{decisions / sum(cpu_s):.0f} | {busiest:.0f} | {mean:.0f} | "
        f"{1e3 * sum(cpu_s) / len(answers_ms):.1f} | {statistics.median(good):.0f} | {len(answers_ms) - len(good)} |"
    )


def spent_s(processes: list[psutil.Process]) -> list[float]:
    """Return the CPU seconds of each process so far."""
    return [times.user + times.system for times in (each.cpu_times() for each in processes)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rps", type=float, default=80.0, help="requests/s over all routers")
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds of each run")
    parser.add_argument("--workers", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.workers:
        serve_workers()
        return
    os.sched_setaffinity(0, {1})
    rng = random.Random(0)
    prompts = [f"{random_scene(rng)}, number {i}" for i in range(PROMPTS)]
    print("| routers | workers | calls per batch | batches/s | decisions/s | decisions per CPU second of all |", end="")
    print(" CPU of the busiest router, % | of each, mean, % | of all, ms per request | p50 ms | failed |")
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for routers, workers in CASES:
        print(measure(routers, workers, options.rps, options.seconds, prompts), flush=True)


if __name__ == "__main__":
    main()
