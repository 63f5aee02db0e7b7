"""The router's source of plan and workers on one machine: the run folder's file, which `hadis up` replaces.

A source is an asynchronous iterator of run states; `plan_from_kubernetes` is the other one.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

from hadis.protocol.run_state import RunState, read_state
from watchfiles import awatch

log = logging.getLogger(__name__)

POLL_MS = 2000
"""The file is read this often at least: some file systems report no changes."""


async def follow_file(path: Path) -> AsyncIterator[RunState]:
    """Yield the state at first and on each change; a file that is missing or broken keeps the last state."""
    last: RunState | None = None
    changes = awatch(path.parent, step=20, debounce=50, rust_timeout=POLL_MS, yield_on_timeout=True)
    while True:
        try:
            state = read_state(path)
        except (OSError, ValueError) as error:
            log.warning("the last plan stays in force: %s", error)
        else:
            if state != last:
                last = state
                yield state
        if await anext(changes, None) is None:
            return
