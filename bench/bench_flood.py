"""What a flood does to everybody else: `python bench/bench_flood.py`.

A client floods over hundreds of connections, each of which sends its request again 50 ms after it was refused. Beside
it a polite client, with a key of its own, asks once per second. Goodput, the images per second, is compared with that
of as many connections as the workers can serve, which nobody refuses.

The router has core 0; stand-in workers, which take a batch's time from the profile, and the clients share core 1. It
exits with 1 where a goal under the table is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import uvloop
from aiohttp import web
from bench_router import MANIFEST, process
from goals import report_goals
from hadis.api.fields import parse_duration_s
from hadis.api.manifest import read_manifest
from hadis.cli.scenes import random_scene
from hadis.planning.plan import Plan, TierPlan
from hadis.planning.profile import Profile
from hadis.protocol.parts import CONTENT_TYPE
from hadis.protocol.run_state import RunState, WorkerAddress, write_state
from hadis.protocol.worker import JobResult, encode_answer

ROUTER, STUB, PATH = 18280, 18283, "/v1/images/generations"
TIER, WORKERS, BATCH = "scenes-large-5", 4, 4
IMAGE = random.Random(0).randbytes(64 * 1024)
RETRY_S, POLITE_S, WARM_UP_S = 0.05, 1.0, 6.0
GOODPUT = 0.9
POLITE_KEY, FLOOD_KEY = "polite", "flood"


@dataclass
class Answers:
    """What a client saw: by status (of errors: the code) how many answers, and the seconds until each image."""

    statuses: Counter[str] = field(default_factory=Counter)
    images_s: list[float] = field(default_factory=list)
    good_at: list[float] = field(default_factory=list)
    """When each of the images came (monotonic seconds)."""

    def served(self, began: float) -> None:
        """Note an image."""
        self.images_s.append(time.monotonic() - began)
        self.good_at.append(time.monotonic())


def serve_workers(batch_s: dict[int, float]) -> None:
    """Be every worker: one batch at a time each, in the profile's time."""
    busy = set[str]()

    async def generate(request: web.Request) -> web.Response:
        worker, jobs = request.match_info["worker"], (await request.json())["jobs"]
        if worker in busy:
            return web.Response(status=409)
        busy.add(worker)
        await asyncio.sleep(batch_s[len(jobs)])
        busy.remove(worker)
        body = encode_answer([JobResult(id=job["id"], service_s=0.1) for job in jobs], [("png", IMAGE)] * len(jobs))
        return web.Response(body=body, headers={"content-type": CONTENT_TYPE})

    app = web.Application(client_max_size=2**24)
    app.router.add_post("/{worker}/generate", generate)
    web.run_app(app, host="127.0.0.1", port=STUB, print=None, access_log=None)


def request_of(key: str, prompt: str) -> bytes:
    """Return a request as it goes over the wire."""
    body = json.dumps({"prompt": prompt}).encode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: router\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def prompt(draw: random.Random) -> str:
    """Return a prompt that no other is like."""
    return f"{random_scene(draw)}, number {draw.randrange(10**6)}"


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    """Send a request and read its answer; return the status. Written by hand, so that a client costs little CPU."""
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
    return int(head[9:12])


async def connection(key: str, draw: random.Random, until: float, answers: Answers) -> None:
    """Send one request after another over a connection; one that is refused again and again, until it is served."""
    while (left_s := until - time.monotonic()) > 0:
        try:
            async with asyncio.timeout(left_s):
                reader, writer = await asyncio.open_connection("127.0.0.1", ROUTER)
                while True:
                    request, began, status = request_of(key, prompt(draw)), time.monotonic(), 0
                    while status != 200:
                        status = await ask(reader, writer, request)
                        answers.statuses[str(status)] += 1
                        if status != 200:
                            await asyncio.sleep(RETRY_S)
                            began = time.monotonic()
                    answers.served(began)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            if not isinstance(error, TimeoutError):
                answers.statuses[type(error).__name__] += 1


async def flood(connections: int, until: float) -> Answers:
    """Send over so many connections until a time."""
    draw, answers = random.Random(1), Answers()
    await asyncio.gather(*(connection(FLOOD_KEY, draw, until, answers) for _ in range(connections)))
    return answers


async def polite(seconds: float, until: float) -> Answers:
    """Ask once per second in the last seconds, over connections as an ordinary client's pool keeps them."""
    draw, answers = random.Random(2), Answers()
    headers = {"authorization": f"Bearer {POLITE_KEY}"}

    async def one(session: aiohttp.ClientSession) -> None:
        began = time.monotonic()
        body = {"prompt": prompt(draw)}
        try:
            async with session.post(f"http://127.0.0.1:{ROUTER}{PATH}", json=body, headers=headers) as answer:
                document = await answer.json()
                answers.statuses[document["error"]["code"] if "error" in document else "200"] += 1
                if answer.status == 200:
                    answers.served(began)
        except (aiohttp.ClientError, TimeoutError) as error:
            answers.statuses[type(error).__name__] += 1

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)) as session, asyncio.TaskGroup() as group:
        await asyncio.sleep(max(0.0, until - seconds - time.monotonic()))
        while time.monotonic() < until:
            group.create_task(one(session))
            await asyncio.sleep(POLITE_S)
    return answers


@contextmanager
def router() -> Iterator[int]:
    """Run our router with a plan of one tier, so that every image costs the same."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state.json"
        plan = Plan(TIER, TIER, 0.0, 0.0, (TierPlan(TIER, WORKERS, BATCH),), 500, 0.1, 0.1, 0.5, generation=1)
        addresses = tuple(WorkerAddress(f"http://127.0.0.1:{STUB}/w{i}", (TIER,)) for i in range(WORKERS))
        write_state(state, RunState(plan, addresses))
        env = {"HADIS_ROUTER_MANIFEST": str(MANIFEST), "HADIS_ROUTER_STATE_FILE": str(state),
               "HADIS_ROUTER_PORT": str(ROUTER)}  # fmt: skip
        with process(0, "-m", "hadis_router", **env) as pid:
            yield pid


async def wait_until_ready() -> None:
    """Wait for the router."""
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{ROUTER}/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


def measure(connections: int, seconds: float, slo_s: float) -> tuple[str, float, float]:
    """Return a row of the table for so many connections beside the polite client, the share in time, the goodput."""
    with router() as pid:
        asyncio.run(wait_until_ready())
        until = time.monotonic() + WARM_UP_S + seconds
        with (
            child(lambda end: polite(seconds, end), until) as polite_seen,
            child(lambda end: flood(connections, end), until) as flood_seen,
        ):
            time.sleep(WARM_UP_S)
            before_s = sum(psutil.Process(pid).cpu_times()[:2])
            time.sleep(max(0.0, until - time.monotonic()))
            cpu_s = sum(psutil.Process(pid).cpu_times()[:2]) - before_s
            calm, loud = polite_seen(), flood_seen()
    good = sum(until - seconds <= at for at in (*calm.good_at, *loud.good_at)) / seconds
    sent, in_time = sum(calm.statuses.values()), sum(s <= slo_s for s in calm.images_s)
    refused = sum(count for status, count in loud.statuses.items() if status != "200")
    worst = f"{max(calm.images_s):.2f}" if calm.images_s else "-"
    return (
        (
            f"| {connections} | {in_time} of {sent} | {worst} | {good:.1f} | "
            f"{refused / (WARM_UP_S + seconds):.0f} | {100 * cpu_s / seconds:.0f} |"
        ),
        in_time / sent if sent else 0.0,
        good,
    )


@contextmanager
def child(client: Callable[[float], Coroutine[Any, Any, Answers]], until: float) -> Iterator[Callable[[], Answers]]:
    """Run a client in a process of its own; yields what waits for its end and returns what it saw."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read)
        answers = uvloop.run(client(until))
        with os.fdopen(write, "w") as pipe:
            json.dump([answers.statuses, answers.images_s, answers.good_at], pipe)
        os._exit(0)
    os.close(write)

    def result() -> Answers:
        with os.fdopen(read) as pipe:
            statuses, images_s, good_at = json.load(pipe)
        os.waitpid(pid, 0)
        return Answers(Counter(statuses), images_s, good_at)

    yield result


def main() -> None:
    """Print a row for as many connections as can be served, and one for the flood."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=700, help="of the flood")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run, after a warm-up")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    manifest = read_manifest(MANIFEST)
    slo_s, profile = parse_duration_s(manifest.service.spec.objective.latency), Profile(manifest.profile)
    if options.serve:
        serve_workers({n: profile.latency_s(TIER, n, False) for n in range(1, BATCH + 1)})
        return
    os.sched_setaffinity(0, {1})
    print("| connections | polite client: in time | its slowest, s | goodput, images/s | refusals/s | router CPU, % |")
    print("|---|---|---|---|---|---|", flush=True)
    with process(1, str(Path(__file__)), "--serve"):
        row, _, calm = measure(2 * WORKERS * BATCH, options.seconds, slo_s)
        print(row, flush=True)
        row, in_time, flooded = measure(options.connections, options.seconds, slo_s)
        print(row, flush=True)
    kept = flooded / calm
    goodput = f"goodput beside the flood is {GOODPUT:.0%} of that without, or more"
    sys.exit(report_goals(
        ("the polite client has every image in time beside the flood", f"{in_time:.1%}", in_time == 1),
        (goodput, f"{kept:.0%}", kept >= GOODPUT),
    ))  # fmt: skip


if __name__ == "__main__":
    main()
