"""Which pods a lower count should take: workers that serve nobody now, by Kubernetes' pod deletion cost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import aiohttp
from hadis.protocol.worker import WorkerStatus

from hadis_operator.children import worker

Object = dict[str, Any]
COST = "controller.kubernetes.io/pod-deletion-cost"
_IDLE = "-1"
"""Below 0, what a pod without the annotation costs."""
_TIMEOUT = aiohttp.ClientTimeout(total=1)


async def idle_pods(http: aiohttp.ClientSession, pods: Sequence[Object]) -> set[str]:
    """Return the names of the pods whose workers say that they are idle; one that says nothing is not."""

    async def ask(pod: Object) -> str | None:
        address = pod.get("status", {}).get("podIP", "")
        host = f"[{address}]" if ":" in address else address
        try:
            async with http.get(f"http://{host}:{worker.PORT}/status", timeout=_TIMEOUT) as answer:
                status = WorkerStatus.model_validate_json(await answer.read())
        except (TimeoutError, aiohttp.ClientError, ValueError, OSError):
            return None
        return None if status.busy else str(pod["metadata"]["name"])

    return {name for name in await asyncio.gather(*map(ask, pods)) if name}


def cost_changes(pods: Sequence[Object], idle: set[str]) -> dict[str, str | None]:
    """Return the pods whose cost is not what it should be, with the value to write (None: take it away)."""
    changes: dict[str, str | None] = {}
    for pod in pods:
        name = pod["metadata"]["name"]
        known = (pod["metadata"].get("annotations") or {}).get(COST)
        if name in idle and known != _IDLE:
            changes[name] = _IDLE
        elif name not in idle and known == _IDLE:
            changes[name] = None
    return changes
