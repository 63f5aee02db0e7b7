"""Processes that are kept alive: when one is started again, and who is told. No process is started."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest
from hadis.cli.processes import Child, ChildRefused, ComponentProcess, Ending, RestartBackoff
from virtual import virtual

WORKER = ComponentProcess("worker 0", "hadis_worker", {}, "http://127.0.0.1:9000/readyz")
LOADING_S, CODE = 3.0, -9


@pytest.mark.parametrize(
    ("code", "ready_s", "waits_s"),
    [
        pytest.param(1, [None] * 8, [0.5, 1, 2, 4, 8, 16, 30, 30], id="never ready: twice as long each time, capped"),
        pytest.param(1, [60] * 4, [0, 0, 0, 0], id="crashed after it served for long: at once"),
        pytest.param(1, [1] * 5, [0, 0.5, 1, 2, 4], id="crashes soon after it is ready: at once but once"),
        pytest.param(-11, [1] * 5, [0, 0.5, 1, 2, 4], id="a fault of its own is a crash, too"),
        pytest.param(1, [None, None, None, 1, None], [0.5, 1, 2, 0, 0.5], id="once ready, the waits begin anew"),
        pytest.param(1, [1, 1, 1, 60, 1, 1], [0, 0.5, 1, 0, 0, 0.5], id="steady once: all is forgiven"),
        pytest.param(1, [1, None, 1, None, 1], [0, 0.5, 1, 2, 4], id="now and then ready for a moment: does not spin"),
        pytest.param(-9, [1] * 6, [0, 0.5, 0.5, 0.5, 0.5, 0.5], id="killed while it served: never twice as long"),
        pytest.param(-15, [1] * 3, [0, 0.5, 0.5], id="ended from outside while it served: as if killed"),
        pytest.param(-9, [None] * 3, [0.5, 1, 2], id="killed before it was ready: it may be too large for the machine"),
    ],
)
def test_the_wait_follows_from_how_each_ended(code: int, ready_s: list[float | None], waits_s: list[float]) -> None:
    backoff = RestartBackoff()
    assert [backoff.after(Ending(code, each)) for each in ready_s] == waits_s


def test_what_crashed_before_somebody_killed_it_waits_on_from_there() -> None:
    backoff, crashed, killed = RestartBackoff(), Ending(1, 1.0), Ending(-9, 1.0)
    assert [backoff.after(each) for each in (crashed, crashed, crashed, killed, crashed)] == [0, 0.5, 1, 0.5, 2]


@dataclass
class FakeProcess:
    """A process that ends by itself after some time, or when it is told to."""

    ends_after_s: float
    code: int = CODE
    returncode: int | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self) -> int:
        """Return the exit code."""
        try:
            await asyncio.wait_for(self.stopping.wait(), self.ends_after_s)
            self.returncode = 0
        except TimeoutError:
            self.returncode = self.code
        return self.returncode

    def terminate(self) -> None:
        """End cleanly."""
        self.stopping.set()

    def kill(self) -> None:
        """Never needed."""
        raise AssertionError


class Machine:
    """Starts fake processes, each ready `LOADING_S` after its start, and notes when what happened."""

    def __init__(self, *processes: FakeProcess) -> None:
        self.processes: Iterator[FakeProcess] = iter(processes)
        self.starts: list[float] = []
        self.changes: list[float] = []
        self.said: list[str] = []

    async def start(self, component: ComponentProcess) -> FakeProcess:
        """Start the next process."""
        assert component is WORKER
        self.starts.append(now())
        return next(self.processes)

    def child(self) -> Child:
        """Return what keeps them alive."""
        transport = httpx.MockTransport(lambda _: httpx.Response(200 if now() >= self.starts[-1] + LOADING_S else 503))
        return Child(WORKER, self.said.append, lambda: self.changes.append(now()), self.start, transport)


def now() -> float:
    return round(asyncio.get_running_loop().time(), 6)


@virtual
async def test_one_that_was_killed_while_it_served_starts_at_once_and_one_that_was_not_ready_waits() -> None:
    machine = Machine(FakeProcess(100), FakeProcess(1), FakeProcess(1), FakeProcess(1000))
    run = asyncio.create_task(machine.child().run())
    await asyncio.sleep(110)
    assert machine.starts == [0, 100, 101.5, 103.5]
    assert machine.changes == pytest.approx([LOADING_S, 100, 101, 102.5, 103.5 + LOADING_S], abs=0.11)
    assert machine.said[:2] == [
        "worker 0 ended with -9; starting it again at once",
        "worker 0 ended with -9; starting it again in 0.5 s",
    ]
    assert not run.done()


@virtual
async def test_one_that_is_stopped_is_told_and_not_started_again() -> None:
    process = FakeProcess(1000)
    machine = Machine(process)
    run = asyncio.create_task(machine.child().run())
    await asyncio.sleep(1)
    run.cancel()
    await asyncio.wait([run])
    assert (process.returncode, machine.starts, machine.said) == (0, [0], [])


@virtual
async def test_one_that_refuses_its_settings_is_not_started_again() -> None:
    machine = Machine(FakeProcess(1, code=2))
    with pytest.raises(ChildRefused, match="worker 0 refused its settings"):
        await machine.child().run()
    assert machine.starts == [0]
