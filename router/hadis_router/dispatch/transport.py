"""How a batch gets to a worker: the shape that the HTTP client and the replay's latency table have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from hadis.protocol.previews import Preview
from hadis.protocol.worker import JobResult, Progress

from hadis_router.dispatch.job import Job

Result = tuple[JobResult, bytes | None]
"""What became of one job, and its image unless that is an error."""

OnProgress = Callable[[Progress | Preview], None]
"""Told when the worker has taken the batch, and then now and then how many steps are done, and what they show."""


class WorkerBusy(Exception):
    """The worker runs another batch; nothing was begun."""


class WorkerGone(Exception):
    """The worker died, does not answer, or answers nonsense."""


class Transport(Protocol):
    """Has a worker make a batch: over HTTP in the router, by a latency table in the replay."""

    async def generate(
        self,
        url: str,
        tier: str,
        jobs: Sequence[Job],
        discriminate: bool,
        timeout_s: float,
        on_progress: OnProgress,
    ) -> list[Result]:
        """Return one result per job, in order; raise WorkerBusy or WorkerGone.

        A caller that is cancelled makes the worker stop at its next step.
        """
