"""`hadis up`: a router, N workers and the control loop on one machine, from the manifest that Kubernetes would get."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

from hadis.api.fields import parse_duration_s
from hadis.api.manifest import Manifest, ManifestError, read_manifest
from hadis.api.resources import Gpus
from hadis.api.status import headline
from hadis.cli import fail
from hadis.cli.processes import Child, ChildRefused
from hadis.planning.control import Controller
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.protocol.run_state import PlanChange, RunState, WorkerAddress, write_state

_CHANGES_KEPT = 20
_PROBE_S = 2.0


def up(
    manifest: Annotated[Path, typer.Argument(help="YAML with a DiffusionService and its CascadeProfile.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the router.")] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every interface.")] = "127.0.0.1",
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Worker processes; default: gpus.max.")] = None,
) -> None:
    """Serve a manifest on this machine: starts the router and the workers, plans every few seconds, stops on Ctrl-C."""
    try:
        found = read_manifest(manifest)
    except ManifestError as error:
        raise fail(str(error)) from None
    _check_port(host, port)
    count = workers if workers is not None else max(1, found.service.spec.gpus.max)
    say = Console(stderr=True, highlight=False).print
    with tempfile.TemporaryDirectory(prefix="hadis-") as folder:
        machine = Machine(found, manifest.resolve(), Path(folder), host, port, count, say)
        try:
            asyncio.run(machine.run())
        except* ChildRefused as group:
            raise fail(str(group.exceptions[0])) from None


def _check_port(host: str, port: int) -> None:
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise fail(f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port") from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@dataclass
class Machine:
    """Everything that `hadis up` runs, and the state that it tells the router."""

    manifest: Manifest
    path: Path
    folder: Path
    host: str
    port: int
    count: int
    say: Any
    changes: deque[PlanChange] = field(default_factory=lambda: deque(maxlen=_CHANGES_KEPT))
    told: Plan | None = None
    state: RunState | None = None

    @property
    def state_file(self) -> Path:
        """The file that the router watches."""
        return self.folder / "state.json"

    @property
    def url(self) -> str:
        """Where the router answers from this machine."""
        return f"http://{'127.0.0.1' if self.host == '0.0.0.0' else self.host}:{self.port}"

    async def run(self) -> None:
        """Run until SIGINT or SIGTERM; raise ChildRefused where a component cannot start."""
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        urls = [f"http://127.0.0.1:{_free_port()}" for _ in range(self.count)]
        self._tell(RunState(plan=None, workers=()))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(child.run()) for child in self._children(urls)]
            tasks += [group.create_task(self._control(urls)), group.create_task(self._greet())]
            await stop.wait()
            self.say("stopping: what runs is finished, nothing new is taken")
            for task in tasks:
                task.cancel()

    def _children(self, urls: list[str]) -> list[Child]:
        threads = max(1, (os.cpu_count() or 1) // self.count)
        router = {
            "HADIS_ROUTER_MANIFEST": str(self.path),
            "HADIS_ROUTER_STATE_FILE": str(self.state_file),
            "HADIS_ROUTER_HOST": self.host,
            "HADIS_ROUTER_PORT": str(self.port),
        }
        children = [Child("router", "hadis_router", router, self.say)]
        for i, url in enumerate(urls):
            worker = {
                "HADIS_WORKER_MANIFEST": str(self.path),
                "HADIS_WORKER_PORT": url.rsplit(":", 1)[1],
                "HADIS_WORKER_THREADS": str(threads),
            }
            children.append(Child(f"worker {i}", "hadis_worker", worker, self.say))
        return children

    async def _greet(self) -> None:
        began = time.monotonic()
        self.say(f"starting a router and {self.count} workers; models load")
        async with httpx.AsyncClient(timeout=_PROBE_S) as client:
            while not await _ready(client, self.url):  # noqa: ASYNC110 (another process is waited for)
                await asyncio.sleep(0.2)
        body = '{"prompt":"a big red circle top left and a small blue square bottom right on white"}'
        self.say(f"ready after {time.monotonic() - began:.1f} s at {self.url}; try:")
        self.say(
            f"  curl -s {self.url}/v1/images/generations -H 'content-type: application/json' -d '{body}'\n"
            f"  hadis generate 'a big red circle top left on white' --url {self.url} -o out.png\n"
            f"  hadis load --rps 1..12 --minutes 3 --url {self.url}",
            soft_wrap=True,
        )

    async def _control(self, urls: list[str]) -> None:
        spec = self.manifest.service.spec
        # On one machine the budget is the workers that were started, and each keeps every tier.
        spec = spec.model_copy(update={"gpus": Gpus(min=0, max=self.count)})
        controller = Controller(Profile(self.manifest.profile), spec, shared=True)
        every = parse_duration_s(spec.plan_every)
        async with httpx.AsyncClient(timeout=_PROBE_S) as client:
            while True:
                plan = self.state.plan if self.state else None
                workers = tuple(w for w in await asyncio.gather(*(_worker(client, url) for url in urls)) if w)
                demand = await _demand(client, self.url)
                if workers and demand is not None:
                    loop_time = asyncio.get_running_loop().time()
                    ready = Counter(tier for worker in workers for tier in worker.tiers)
                    plan = controller.step(loop_time, demand[0], ready, demand[1])
                self._adopt(plan, workers, controller.observed_rps, controller.forecast_rps)
                # The first workers are waited for with short steps, so that the first image comes soon.
                await asyncio.sleep(every if plan else 0.2)

    def _adopt(
        self, plan: Plan | None, workers: tuple[WorkerAddress, ...], observed_rps: float, forecast_rps: float
    ) -> None:
        if plan is not None and (self.told is None or plan.worth_telling(self.told)):
            self.told = plan
            self.changes.append(PlanChange(time.time(), headline(plan), plan.reason))
            self.say(f"plan {plan.generation}: {headline(plan)}; {plan.reason}", soft_wrap=True)
        self._tell(RunState(plan, workers, round(observed_rps, 3), round(forecast_rps, 3), tuple(self.changes)))

    def _tell(self, state: RunState) -> None:
        if state != self.state:
            write_state(self.state_file, state)
            self.state = state


async def _ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/readyz")).is_success
    except httpx.HTTPError:
        return False


async def _worker(client: httpx.AsyncClient, url: str) -> WorkerAddress | None:
    """Return the worker if it is ready to take work."""
    try:
        status = (await client.get(f"{url}/status")).json()
        return WorkerAddress(url, tuple(status["tiers"])) if status["ready"] and not status["draining"] else None
    except (httpx.HTTPError, ValueError, KeyError):
        return None


async def _demand(client: httpx.AsyncClient, url: str) -> tuple[float, dict[str, float]] | None:
    """Return the router's count of arrivals and the work that waits by tier; None while it does not answer."""
    try:
        status = (await client.get(f"{url}/v1/hadis/status")).json()
        return float(status["arrivals_total"]), dict(status["queued_s"])
    except (httpx.HTTPError, ValueError, KeyError):
        return None
