"""`hadis up`: a router, N workers and the control loop on one machine, from the manifest that Kubernetes would get."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hadis.api.manifest import Manifest, ManifestError, read_manifest
from hadis.api.tracing import trace_variables
from hadis.cli import fail
from hadis.cli.control_loop import ControlLoop, greet
from hadis.cli.gpus import assign, list_devices, threads_per_worker
from hadis.cli.local_workers import LocalWorkers, Place
from hadis.cli.preloading import Preloading
from hadis.cli.processes import Child, ChildRefused, ComponentProcess
from hadis.cli.run_folder import STATE_FILE, remembered, run_folder
from hadis.planning.fleet import is_shared
from hadis.planning.objectives import criterion
from hadis.planning.profile import Profile
from hadis.protocol.address import http_url
from hadis.protocol.api_keys import api_keys
from hadis.protocol.labels import tiers_by_pool
from hadis.protocol.run_state import RunState, write_state
from hadis.protocol.secret import make_secret


def up(
    manifest: Annotated[Path, typer.Argument(help="YAML with a DiffusionService and its CascadeProfile.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the router.")] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every interface.")] = "127.0.0.1",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, max=64, help="Worker processes, each with GPUs of its own; default: as many as gpus.max allows."
        ),
    ] = None,
) -> None:
    """Serve a manifest on this machine: starts the router and the workers, plans every few seconds, stops on Ctrl-C."""
    try:
        read = read_manifest(manifest)
        count = workers if workers is not None else max(1, read.service.spec.worker_bounds.max)
        profile = Profile(read.profile)
        if (problem := criterion(read.service.spec.objective).refusal(profile)) is not None:
            raise ValueError(problem.message)
        if not profile.local_tiers:
            count = 0
        api_keys(read.profile.spec.tiers, os.environ)  # else each worker would refuse its settings
        devices = assign(list_devices(os.environ), count, read.service.spec.worker.gpus_per_worker)
    except (ManifestError, ValueError) as error:
        raise fail(str(error)) from None
    _check_port(host, port)
    say = Console(stderr=True, highlight=False).print
    with run_folder(manifest, port, os.environ, say) as folder:
        machine = Machine(read, manifest.resolve(), folder, host, port, devices, say)
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


def _free_ports(count: int) -> list[int]:
    """Return ports that are free now, each another one: all are held until the last is found."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@dataclass
class Machine:
    """Everything that `hadis up` runs on one machine."""

    manifest: Manifest
    path: Path
    folder: Path
    host: str
    port: int
    devices: tuple[str | None, ...]
    """For each worker the GPUs that it sees; None where it sees whatever the machine has."""
    say: Callable[..., None]
    secret: str = field(default_factory=make_secret, repr=False)
    """What router, workers and control loop know each other by, for this run."""

    @property
    def url(self) -> str:
        """Where the router answers from this machine."""
        return http_url({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host), self.port)

    async def run(self) -> None:
        """Run until SIGINT or SIGTERM; raise ChildRefused where a component cannot start."""
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        profile, spec, places = Profile(self.manifest.profile), self.manifest.service.spec, self.places()
        state_file, memory = self.folder / STATE_FILE, remembered(self.folder, profile, self.say)
        state = RunState(None, (), batch_time_ratios=memory.ratios, profile_hash=memory.profile_hash)
        write_state(state_file, state)
        async with asyncio.TaskGroup() as tasks:
            changed, preloading = asyncio.Event(), Preloading("hadis_worker", self.say)
            groups = tiers_by_pool(profile.tiers, shared=is_shared(spec, profile), remote=profile.slots)
            workers = LocalWorkers(
                groups,
                places,
                tasks,
                self.say,
                changed.set,
                functools.partial(Child, start=preloading.start),
                remote=profile.slots,
                secret=self.secret,
            )
            loop = ControlLoop(spec, profile, workers, self.url, state_file, self.say, changed, self.secret, memory)
            running = [
                tasks.create_task(Child(self._router(state_file), self.say, changed.set).run()),
                tasks.create_task(loop.run()),
                tasks.create_task(preloading.run(lambda: workers.settled)),
                tasks.create_task(greet(self.url, len(places), self.say, spec.access.keys is not None)),
            ]
            await stop.wait()
            self.say("stopping: what runs is finished, nothing new is taken")
            for task in (*running, *workers.running):
                task.cancel()

    def _router(self, state_file: Path) -> ComponentProcess:
        environment = {
            "HADIS_ROUTER_MANIFEST": str(self.path),
            "HADIS_ROUTER_STATE_FILE": str(state_file),
            "HADIS_ROUTER_HOST": self.host,
            "HADIS_ROUTER_PORT": str(self.port),
            "HADIS_ROUTER_SECRET": self.secret,
            **self._tracing(),
        }
        # Not /readyz, which also needs workers.
        return ComponentProcess("router", "hadis_router", environment, f"{self.url}/healthz")

    def _tracing(self) -> dict[str, str]:
        service = self.manifest.service
        variables = trace_variables(service.spec.tracing, {"hadis.service": service.metadata.name})
        return {name: value for name, value in variables.items() if name not in os.environ}

    def places(self) -> list[Place]:
        """Return a place for each worker: its own port, and its own GPU where the machine has any.

        Those of remote tiers, which come after the others, compute nothing.
        """
        threads = str(threads_per_worker(max(1, len(self.devices)), os.environ))
        every = {
            "HADIS_WORKER_MANIFEST": str(self.path),
            "HADIS_WORKER_THREADS": threads,
            "HADIS_WORKER_SECRET": self.secret,
            **self._tracing(),
        }
        slots = sum(Profile(self.manifest.profile).slots.values())
        ports = _free_ports(len(self.devices) + slots)
        local = [
            Place(i, ports[i], every if device is None else {**every, "CUDA_VISIBLE_DEVICES": device})
            for i, device in enumerate(self.devices)
        ]
        return local + [Place(i, port, every, remote=True) for i, port in enumerate(ports) if i >= len(local)]
