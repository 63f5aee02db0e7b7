"""Child processes that are kept alive: watched until they are ready, started again when they end, stopped cleanly."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn, Protocol

import httpx

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_STEADY_S = 10.0
"""A process that was ready for as long is not crashing at each start."""
_POLL_S, _ANSWER_S = 0.1, 2.0


@dataclass(frozen=True)
class ComponentProcess:
    """A process to run: `python -m module`."""

    name: str
    """What people call it."""
    module: str
    environment: Mapping[str, str]
    """Variables beside our own."""
    ready_url: str
    """Answers 200 once the process is ready."""
    preloads: bool = False
    """Whether `python -m module preload` may become it; see `preloading`."""


@dataclass(frozen=True)
class Ending:
    """How a process ended, and for how many seconds it had been ready; None: it never was."""

    code: int
    ready_s: float | None

    @property
    def killed(self) -> bool:
        """Whether somebody ended it while it was ready: it did not crash."""
        return self.ready_s is not None and -self.code in (signal.SIGKILL, signal.SIGTERM)


@dataclass
class RestartBackoff:
    """How long a process that ended waits until it is started again.

    One that was ready starts again at once, and the waits begin anew. But one that was ready only for a moment (less
    than 10 s) may do so once, until one has been ready for longer: else what crashes at its first batch would load its
    models for ever. All others wait twice as long each time, from half a second to half a minute; but one that was
    killed while it served waits half a second, and makes no later one wait longer.
    """

    _wait_s: float = _FIRST_WAIT_S
    _only_a_moment: bool = False

    def after(self, ending: Ending) -> float:
        """Return the seconds to wait after a process that ended."""
        ready_s = ending.ready_s
        if ready_s is not None and (ready_s >= _STEADY_S or not self._only_a_moment):
            self._wait_s, self._only_a_moment = _FIRST_WAIT_S, ready_s < _STEADY_S
            return 0.0
        if ending.killed:
            return _FIRST_WAIT_S
        wait_s, self._wait_s = self._wait_s, min(_LONGEST_WAIT_S, 2 * self._wait_s)
        return wait_s


class Process(Protocol):
    """What is needed of an operating system's process."""

    @property
    def returncode(self) -> int | None:
        """The exit code; None while it runs."""

    async def wait(self) -> int:
        """Wait for its end; return its exit code."""

    def terminate(self) -> None:
        """Tell it to end."""

    def kill(self) -> None:
        """End it."""


async def start_process(component: ComponentProcess) -> Process:
    """Start a component, which ends when we do."""
    return await start_module(component.module, environment=component.environment)


async def start_module(
    module: str, *arguments: str, environment: Mapping[str, str], stdin: int | None = None
) -> asyncio.subprocess.Process:
    """Start `python -m module` with variables beside our own; it ends when we do."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        stdin=stdin,
        env={**os.environ, **environment},
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )


class ChildRefused(Exception):
    """A component whose settings are wrong: to start it again would not help."""


@dataclass(frozen=True)
class Child:
    """One component as a process. `run` keeps it alive until cancelled, then stops it."""

    component: ComponentProcess
    say: Callable[[str], None]
    changed: Callable[[], None]
    """Called each time that the process became ready or ended."""
    start: Callable[[ComponentProcess], Awaitable[Process]] = start_process
    transport: httpx.AsyncBaseTransport | None = None
    """What asks whether the process is ready; HTTP where left out."""

    async def run(self, drain_s: float = 30.0) -> NoReturn:
        """Start and restart the process until cancelled; raise ChildRefused when it exits with code 2."""
        name, backoff = self.component.name, RestartBackoff()
        while True:
            ending = await self._once(drain_s)
            self.changed()
            if ending.code == 2:
                raise ChildRefused(f"{name} refused its settings; its line above says why")
            wait_s = backoff.after(ending)
            when = f"in {wait_s:g} s" if wait_s else "at once"
            self.say(f"{name} ended with {ending.code}; starting it again {when}")
            await asyncio.sleep(wait_s)

    async def _once(self, drain_s: float) -> Ending:
        """Run the process to its end; where cancelled, end it."""
        process = await self.start(self.component)
        readiness = asyncio.create_task(self._ready_at())
        try:
            code = await process.wait()
        finally:
            readiness.cancel()
            if process.returncode is None:
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), drain_s)
                except TimeoutError:
                    process.kill()
                    await process.wait()
        was_ready = readiness.done() and not readiness.cancelled()
        return Ending(code, asyncio.get_running_loop().time() - readiness.result() if was_ready else None)

    async def _ready_at(self) -> float:
        """Wait until the process says that it is ready; return the loop's time of that."""
        async with httpx.AsyncClient(timeout=_ANSWER_S, transport=self.transport) as http:
            while not await is_ready(http, self.component.ready_url):  # noqa: ASYNC110 (another process is waited for)
                await asyncio.sleep(_POLL_S)
        self.changed()
        return asyncio.get_running_loop().time()


async def is_ready(http: httpx.AsyncClient, url: str) -> bool:
    """Return whether a URL answers with success, within the client's timeout."""
    try:
        return (await http.get(url)).is_success
    except httpx.HTTPError:
        return False


def _die_with_parent() -> None:
    """Have Linux end this process when its parent dies, however that dies; elsewhere do nothing."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
