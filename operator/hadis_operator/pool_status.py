"""Writes how each GpuPool is used into its status, where that differs from what it says."""

from __future__ import annotations

import logging

from hadis.api.crd import GROUP, VERSION
from hadis.kube.client import ApiError, Kube, Object

from hadis_operator import metrics
from hadis_operator.cache import Cache
from hadis_operator.gpu_pools import GpuPools

log = logging.getLogger(__name__)


async def write_pool_statuses(kube: Kube, cache: Cache, pools: GpuPools) -> None:
    """Bring every pool's status up to date."""
    for item in cache.gpu_pools():
        namespace, name = item["metadata"]["namespace"], item["metadata"]["name"]
        status = pools.status(namespace, name)
        if status is None:
            continue
        document = status.model_dump(mode="json", by_alias=True)
        if document != item.get("status"):
            await _write(kube, cache, item, document)


async def _write(kube: Kube, cache: Cache, item: Object, status: Object) -> None:
    namespace, name = item["metadata"]["namespace"], item["metadata"]["name"]
    former = (item.get("status") or {}).get("services") or {}
    patch = status | {"services": dict.fromkeys(former) | status["services"]}  # null takes a service out
    metrics.WRITES.labels("status").inc()
    try:
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/gpupools/{name}/status"
        cache.saw("pools", "MODIFIED", await kube.merge(path, {"status": patch}))
    except (ApiError, TimeoutError) as error:
        if not isinstance(error, ApiError) or error.status != 404:  # deleted meanwhile
            log.warning("status of GpuPool %s/%s: %s", namespace, name, error)
