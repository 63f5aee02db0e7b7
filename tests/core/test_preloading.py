"""The process that waits to become a worker: when it is started, what is started in it, and how it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hadis.cli.preloading import Preloading
from hadis.cli.processes import ComponentProcess
from virtual import virtual

VARIABLES = {"HADIS_WORKER_PORT": "9000", "CUDA_VISIBLE_DEVICES": "3"}
WORKER = ComponentProcess("worker 0", "hadis_worker", VARIABLES, "http://127.0.0.1:9000/readyz", preloads=True)
ENDPOINTS = ComponentProcess("worker 1", "hadis_worker", {}, "http://127.0.0.1:9001/readyz")


@dataclass(eq=False)
class FakeProcess:
    """A process, and its own standard input."""

    returncode: int | None = None
    sent: bytes = b""
    input_ended: bool = False

    @property
    def stdin(self) -> FakeProcess:
        """Its standard input."""
        return self

    def write(self, data: bytes) -> None:
        """Note what is sent."""
        self.sent += data

    def close(self) -> None:
        """Note the end of the input."""
        self.input_ended = True

    async def wait(self) -> int:
        """Return how it ended, which it must have."""
        assert self.returncode is not None
        return self.returncode

    def terminate(self) -> None:
        """Never needed."""
        raise AssertionError

    def kill(self) -> None:
        """End it."""
        self.returncode = -9


@dataclass
class Machine:
    """Starts fake processes, and notes which."""

    waiting: list[FakeProcess] = field(default_factory=list)
    started: list[ComponentProcess] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    full: bool = False

    def preloading(self) -> Preloading:
        """Return what is tested."""
        return Preloading("hadis_worker", self.said.append, self.start_waiting, self.start_process)

    async def start_waiting(self, module: str) -> FakeProcess:
        """Start one that waits."""
        assert module == "hadis_worker"
        if self.full:
            raise BlockingIOError("no more processes")
        self.waiting.append(FakeProcess())
        return self.waiting[-1]

    async def start_process(self, component: ComponentProcess) -> FakeProcess:
        """Start one that does not."""
        self.started.append(component)
        return FakeProcess()


@virtual
async def test_a_worker_starts_in_the_process_that_waits_and_another_one_waits_then() -> None:
    machine = Machine()
    preloading = machine.preloading()
    run = asyncio.create_task(preloading.run(lambda: True))
    await asyncio.sleep(60)
    (first,) = machine.waiting
    assert await preloading.start(WORKER) is first
    assert (json.loads(first.sent), first.input_ended) == (VARIABLES, True)
    await preloading.start(WORKER)
    assert machine.started == [WORKER], "the second does not wait for a process to wait"
    await asyncio.sleep(60)
    assert len(machine.waiting) == 2
    assert await preloading.start(ENDPOINTS) not in machine.waiting
    run.cancel()
    await asyncio.wait([run])
    assert [process.returncode for process in machine.waiting] == [None, -9]
    assert machine.said == []


@virtual
async def test_none_is_started_while_workers_start() -> None:
    machine = Machine()
    run = asyncio.create_task(machine.preloading().run(lambda: asyncio.get_running_loop().time() > 100))
    await asyncio.sleep(99)
    assert machine.waiting == []
    await asyncio.sleep(10)
    assert len(machine.waiting) == 1
    run.cancel()
    await asyncio.wait([run])


def ends(machine: Machine) -> None:
    machine.waiting[-1].returncode = -9


def is_full(machine: Machine) -> None:
    machine.full = True


@virtual
@pytest.mark.parametrize(("befalls", "word"), [(ends, "ended"), (is_full, "no process can wait")])
async def test_where_none_can_wait_workers_start_as_without_one(befalls: Callable[[Machine], None], word: str) -> None:
    machine = Machine()
    preloading = machine.preloading()
    run = asyncio.create_task(preloading.run(lambda: True))
    await asyncio.sleep(1)
    if befalls is is_full:
        await preloading.start(WORKER)
    befalls(machine)
    await asyncio.sleep(60)
    await asyncio.wait_for(run, 1)
    assert len(machine.waiting) == 1
    await preloading.start(WORKER)
    assert machine.started == [WORKER]
    assert len(machine.said) == 1
    assert word in machine.said[0]
