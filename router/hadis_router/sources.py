"""Where the router learns its plan and its workers from.

One machine has one file in the run folder, replaced at once by whoever plans; a source is any asynchronous iterator
of run states, so that a watch on the Kubernetes API is another function of this shape.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

from hadis.protocol.run_state import RunState, read_state
from watchfiles import awatch

log = logging.getLogger(__name__)

POLL_MS = 2000
"""The file is read again this often whatever the watch says: some file systems report no changes."""


async def follow_file(path: Path) -> AsyncIterator[RunState]:
    """Yield the state at first and on each change; a file that is missing or broken keeps the last state."""
    last: RunState | None = None
    changes = awatch(path.parent, step=20, debounce=50, rust_timeout=POLL_MS, yield_on_timeout=True)
    while True:
        try:
            state = read_state(path)
        except (OSError, ValueError) as error:
            log.warning("the plan stays as it is: %s", error)
        else:
            if state != last:
                last = state
                yield state
        if await anext(changes, None) is None:
            return
