"""Which pods a lower count should take: workers that serve nobody now, by Kubernetes' pod deletion cost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import aiohttp
from hadis.protocol.address import http_url
from hadis.protocol.secret import as_bearer
from hadis.protocol.worker import WorkerStatus

from hadis_operator.bounded import read_bounded
from hadis_operator.children import worker_pool
from hadis_operator.workload_views import PodView

_IDLE = "-1"
"""Below 0, what a pod without the annotation costs."""
_TIMEOUT = aiohttp.ClientTimeout(total=1)
_MOST_BYTES = 64 * 1024


async def idle_pods(http: aiohttp.ClientSession, pods: Iterable[PodView], secret: str | None = None) -> set[str]:
    """Return the names of the pods whose workers say that they are idle; one that says nothing is not.

    They say it to those who show the service's secret.
    """
    headers = as_bearer(secret)

    async def idle(pod: PodView) -> str | None:
        try:
            url = f"{http_url(pod.address, worker_pool.PORT)}/status"
            async with http.get(url, timeout=_TIMEOUT, headers=headers) as answer:
                status = WorkerStatus.model_validate_json(await read_bounded(answer, _MOST_BYTES))
        except (TimeoutError, aiohttp.ClientError, ValueError, OSError):
            return None
        return None if status.busy else pod.name

    return {name for name in await asyncio.gather(*map(idle, pods)) if name}


def cost_changes(pods: Iterable[PodView], idle: set[str]) -> dict[str, str | None]:
    """Return the pods whose cost is not what it should be, with the value to write (None: take it away)."""
    changes: dict[str, str | None] = {}
    for pod in pods:
        if pod.name in idle and pod.deletion_cost != _IDLE:
            changes[pod.name] = _IDLE
        elif pod.name not in idle and pod.deletion_cost == _IDLE:
            changes[pod.name] = None
    return changes
