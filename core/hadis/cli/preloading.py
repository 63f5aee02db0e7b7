"""A process that has imported everything and waits to become a worker, so that one that died is back sooner.

Imports are most of a worker's start. The process knows nothing of any worker until it becomes one: it is given its
variables then, by its standard input, and is from then on a child like any other. It is not forked from one that lives
on, for libraries that compute may have threads and devices that no fork takes along.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from subprocess import PIPE
from typing import Protocol

from hadis.cli.processes import ComponentProcess, Process, start_module, start_process

_LOOK_S = 5.0
_END_S = 5.0


class Writer(Protocol):
    """What is needed of a process's standard input."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def close(self) -> None:
        """Send the rest and end the input."""


class WaitingProcess(Process, Protocol):
    """A process that waits to be told what to become."""

    @property
    def stdin(self) -> Writer | None:
        """Where it is told."""


async def start_waiting(module: str) -> WaitingProcess:
    """Start a process that imports what a module needs and then waits."""
    return await start_module(module, "preload", environment={}, stdin=PIPE)


@dataclass
class Preloading:
    """Keeps one such process while `run` does; `start` lets a component begin in it."""

    module: str
    say: Callable[[str], None]
    start_waiting: Callable[[str], Awaitable[WaitingProcess]] = start_waiting
    start_process: Callable[[ComponentProcess], Awaitable[Process]] = start_process
    _waiting: WaitingProcess | None = None

    async def start(self, component: ComponentProcess) -> Process:
        """Start a component, in the process that waits if there is one."""
        process = self._waiting
        if not component.preloads or process is None or process.stdin is None or process.returncode is not None:
            return await self.start_process(component)
        self._waiting = None
        process.stdin.write(json.dumps(dict(component.environment)).encode())
        process.stdin.close()
        return process

    async def run(self, settled: Callable[[], bool]) -> None:
        """Have a process wait until cancelled; one that ends by itself is the last.

        It imports while `settled` says that nothing else starts, so that no start is slower for it.
        """
        try:
            while self._waiting is None or self._waiting.returncode is None:
                if self._waiting is None and settled():
                    self._waiting = await self.start_waiting(self.module)
                await asyncio.sleep(_LOOK_S)
            self.say("the process that waited to replace a worker ended; workers that die take longer to be back now")
        except OSError as error:
            self.say(f"no process can wait to replace a worker: {error}")
        finally:
            await self._end()

    async def _end(self) -> None:
        """End the process that waits, if one does."""
        process, self._waiting = self._waiting, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()  # it has nothing to finish
            await asyncio.wait_for(process.wait(), _END_S)
