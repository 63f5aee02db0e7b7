"""Writes how each GpuPool is used into its status, where that differs from what it says."""

from __future__ import annotations

import logging

from hadis.api.crd import GROUP, VERSION
from hadis.api.gpu_pool import GpuPoolStatus
from hadis.kube.client import ApiError, Kube

from hadis_operator import metrics
from hadis_operator.cache import Cache
from hadis_operator.gpu_pools import GpuPools
from hadis_operator.views import GpuPoolView

log = logging.getLogger(__name__)


async def write_pool_statuses(kube: Kube, cache: Cache, pools: GpuPools) -> None:
    """Bring every pool's status up to date."""
    for pool in cache.gpu_pools():
        status = pools.status(pool.namespace, pool.name)
        if status is not None and status != pool.status:
            await _write(kube, cache, pool, status)


async def _write(kube: Kube, cache: Cache, pool: GpuPoolView, status: GpuPoolStatus) -> None:
    document = status.model_dump(mode="json", by_alias=True)
    patch = document | {"services": dict.fromkeys(pool.listed) | document["services"]}  # null takes a service out
    metrics.WRITES.labels("status").inc()
    try:
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{pool.namespace}/gpupools/{pool.name}/status"
        cache.saw("pools", "MODIFIED", await kube.merge(path, {"status": patch}))
    except (ApiError, TimeoutError) as error:
        if not isinstance(error, ApiError) or error.status != 404:  # deleted meanwhile
            log.warning("status of GpuPool %s/%s: %s", pool.namespace, pool.name, error)
