"""Child processes that are kept alive: started again with backoff, stopped cleanly."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Callable

_FIRST_WAIT_S, _LONGEST_WAIT_S, _STEADY_S = 0.5, 30.0, 60.0


class Child:
    """One component as a process. `run` keeps it alive until cancelled, then stops it."""

    def __init__(self, name: str, module: str, environment: dict[str, str], say: Callable[[str], None]) -> None:
        """Say what to run (`python -m module`) and with which variables beside our own."""
        self.name, self._module, self._say = name, module, say
        self._environment = {**os.environ, **environment}

    async def run(self, drain_s: float = 30.0) -> None:
        """Start and restart the process until cancelled. A process that exits with code 2 is not started again."""
        wait = _FIRST_WAIT_S
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            code = await self._once(drain_s)
            if code == 2:
                raise ChildRefused(f"{self.name} refused its settings; its line above says why")
            wait = _FIRST_WAIT_S if clock() - began > _STEADY_S else wait
            self._say(f"{self.name} ended with {code}; starting it again in {wait:g} s")
            await asyncio.sleep(wait)
            wait = min(_LONGEST_WAIT_S, 2 * wait)

    async def _once(self, drain_s: float) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            env=self._environment,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), drain_s)
                except TimeoutError:
                    process.kill()
                    await process.wait()


class ChildRefused(Exception):
    """A component whose settings are wrong: to start it again would not help."""


def _die_with_parent() -> None:
    """Have Linux end this process when its parent dies, however that dies; elsewhere do nothing."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
