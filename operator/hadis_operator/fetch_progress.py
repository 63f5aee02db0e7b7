"""How far pods are that fetch their models before their worker starts: asked of them, for the status."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import aiohttp
from hadis.api.status import FetchStatus
from hadis.protocol.address import http_url
from hadis.protocol.fetch import FETCH, FetchProgress

from hadis_operator.bounded import read_bounded
from hadis_operator.children.worker_pool import PORT
from hadis_operator.workload_views import PodView

_TIMEOUT = aiohttp.ClientTimeout(total=1.0)
_MOST_BYTES = 64 * 1024
_MOST_PODS = 16
"""Most pods that are asked at one time: on one claim they all say the same."""


async def fetch_status(http: aiohttp.ClientSession, pods: Iterable[PodView]) -> FetchStatus:
    """Return how many pods fetch, and what the one that is furthest has; one that does not answer has nothing yet."""
    fetching = [pod for pod in pods if pod.fetching and not pod.terminating]
    answers = await asyncio.gather(*(_ask(http, pod) for pod in fetching[:_MOST_PODS] if pod.address))
    furthest = max(answers, key=lambda progress: progress.bytes, default=FetchProgress())
    return FetchStatus(pods=len(fetching), files=furthest.files, bytes=furthest.bytes)


async def _ask(http: aiohttp.ClientSession, pod: PodView) -> FetchProgress:
    try:
        async with http.get(f"{http_url(pod.address, PORT)}/{FETCH}", timeout=_TIMEOUT) as answer:
            return FetchProgress.model_validate_json(await read_bounded(answer, _MOST_BYTES))
    except (TimeoutError, aiohttp.ClientError, ValueError, OSError):
        return FetchProgress()
