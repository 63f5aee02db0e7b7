"""The worker processes of one machine: what Deployments and pods are in a cluster, a place (a GPU, a port) per worker.

The control step sees them as groups of workers and says how many each group may have; a place is free again when the
process that had it is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

from hadis.cli.processes import Child, ComponentProcess
from hadis.planning.snapshot import Worker, WorkerGroup
from hadis.protocol.run_state import WorkerAddress
from hadis.protocol.secret import as_bearer
from hadis.protocol.worker import WorkerStatus

_PROBE_S = 2.0


class Runs(Protocol):
    """What is run at a place until it is cancelled."""

    def run(self) -> Coroutine[Any, Any, None]:
        """Run until cancelled."""


@dataclass(frozen=True)
class Place:
    """Where one worker can run."""

    number: int
    port: int
    environment: Mapping[str, str]
    """Variables that any worker here gets, for example its GPU."""
    remote: bool = False
    """Whether it is for a worker that computes nothing, of a tier that an endpoint makes."""

    @property
    def url(self) -> str:
        """Where a worker here answers."""
        return f"http://127.0.0.1:{self.port}"


@dataclass(eq=False)
class _Process:
    """A worker's process, kept alive by its task until that is cancelled."""

    place: Place
    group: str
    task: asyncio.Task[None]
    terminating: bool = False
    ready: bool = False
    busy: bool = False


@dataclass
class LocalWorkers:
    """Starts and stops worker processes; `changed` is called when one became ready or ended."""

    groups: Mapping[str, tuple[str, ...]]
    """The tiers of each group's workers."""
    places: Sequence[Place]
    tasks: asyncio.TaskGroup
    say: Callable[[str], None]
    changed: Callable[[], None]
    child: Callable[[ComponentProcess, Callable[[str], None], Callable[[], None]], Runs] = Child
    remote: Collection[str] = ()
    """The groups whose workers compute nothing."""
    secret: str | None = field(default=None, repr=False)
    """What workers believe us by."""
    _processes: list[_Process] = field(default_factory=list)
    _replicas: dict[str, int] = field(default_factory=dict)

    def apply(self, replicas: Mapping[str, int]) -> None:
        """Start and stop processes until each group has as many as it may; idle ones are stopped first."""
        self._replicas = dict(replicas)
        for group, count in replicas.items():
            running = self._active(group)
            for process in sorted(running, key=lambda p: (p.ready, p.busy))[: max(0, len(running) - count)]:
                process.terminating, process.ready = True, False
                process.task.cancel()
        for group, count in replicas.items():
            running = self._active(group)
            for place in self._free(group)[: max(0, count - len(running))]:
                self._start(place, group)

    async def probe(self, http: httpx.AsyncClient) -> None:
        """Ask every worker whether it is ready and busy."""
        await asyncio.gather(*(_probe(http, process, as_bearer(self.secret)) for process in self._processes))

    def observe(self) -> tuple[tuple[WorkerGroup, ...], tuple[Worker, ...]]:
        """Return the groups and the workers as the control step sees them."""
        groups = tuple(
            WorkerGroup(
                name=name,
                tiers=tiers,
                replicas=self._replicas.get(name, 0),
                created=len(self._active(name)),
                exists=self._replicas.get(name, 0) > 0 or any(p.group == name for p in self._processes),
                remote=name in self.remote,
            )
            for name, tiers in self.groups.items()
        )
        workers = tuple(
            Worker(
                name=str(process.place.number),
                group=process.group,
                tiers=self.groups[process.group],
                ready=process.ready,
                terminating=process.terminating,
                url=process.place.url,
                remote=process.group in self.remote,
            )
            for process in self._processes
        )
        return groups, workers

    def addresses(self) -> tuple[WorkerAddress, ...]:
        """Return the workers that are ready, for the router."""
        return tuple(WorkerAddress(p.place.url, self.groups[p.group]) for p in self._processes if p.ready)

    @property
    def settled(self) -> bool:
        """Whether there are workers that compute, and all of them are ready."""
        computing = [process for process in self._processes if not process.place.remote]
        return bool(computing) and all(process.ready for process in computing)

    @property
    def running(self) -> list[asyncio.Task[None]]:
        """The processes' tasks; one that is cancelled stops its process cleanly."""
        return [process.task for process in self._processes]

    def _active(self, group: str) -> list[_Process]:
        return [process for process in self._processes if process.group == group and not process.terminating]

    def _free(self, group: str) -> list[Place]:
        taken, remote = {process.place.number for process in self._processes}, group in self.remote
        return [place for place in self.places if place.number not in taken and place.remote == remote]

    def _start(self, place: Place, group: str) -> None:
        environment = {
            **place.environment,
            "HADIS_WORKER_PORT": str(place.port),
            "HADIS_WORKER_TIERS": ",".join(self.groups[group]),
        }
        name, ready_url = f"worker {place.number}", f"{place.url}/readyz"
        worker = ComponentProcess(name, "hadis_worker", environment, ready_url, preloads=not place.remote)
        child = self.child(worker, self.say, self.changed)
        process = _Process(place, group, self.tasks.create_task(child.run()))
        self._processes.append(process)
        process.task.add_done_callback(lambda _: self._ended(process))

    def _ended(self, process: _Process) -> None:
        self._processes.remove(process)
        self.changed()


async def _probe(http: httpx.AsyncClient, process: _Process, headers: Mapping[str, str]) -> None:
    try:
        answer = await http.get(f"{process.place.url}/status", timeout=_PROBE_S, headers=headers)
        status = WorkerStatus.model_validate_json(answer.raise_for_status().content, extra="ignore")
        ready, busy = status.ready and not status.draining, status.busy
    except (httpx.HTTPError, ValueError):
        ready, busy = False, False
    process.ready, process.busy = ready and not process.terminating, busy
