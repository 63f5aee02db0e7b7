"""The pods of a pool of workers: with GPUs, or for a remote endpoint."""

from __future__ import annotations

import math

from hadis.api.fields import parse_duration_s
from hadis.api.resources import ServiceSpec
from hadis.api.workload import ModelCache, Resources, WorkerPods
from hadis.planning.profile import Profile
from hadis.protocol.fetch import FETCH

from hadis_operator.children.common import CONFIG_FILE, Manifest, container, pod, resources
from hadis_operator.children.worker_pool import PORT, WorkerPool
from hadis_operator.settings import OperatorSettings

_MODELS = "/models"
_GRACE_S = 15
"""Seconds on top of the longest batch in which a worker ends after SIGTERM."""
_STARTUP_S = 4 * 3600
"""Models may have to be fetched first; while libraries are read from a slow disk, nothing is answered for long."""
_REMOTE_STARTUP_S = 300
_REMOTE_RESOURCES = Resources(cpu="100m", memory="512Mi")
"""It decodes images and encodes them again."""
_JUDGE_RESOURCES = Resources(cpu="1", memory="4Gi")
"""It has torch and a discriminator besides."""

# As many threads as it asks for CPUs, rounded up: one per core of the node would be in its neighbours' way.
_THREADS: Manifest = {
    "name": "HADIS_WORKER_THREADS",
    "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1"}},
}


def worker_pod(
    spec: ServiceSpec, settings: OperatorSettings, profile: Profile, pool: WorkerPool, config: str
) -> Manifest:
    """Return the spec of a pool's pods, without the service's secrets; `config` is the ConfigMap with their tiers."""
    make = _gpu_pod if pool.remote is None else _remote_pod
    return make(spec, settings, profile, pool, config)


def _remote_pod(
    spec: ServiceSpec, settings: OperatorSettings, profile: Profile, pool: WorkerPool, config: str
) -> Manifest:
    """Return a pod that has an endpoint make its images: on any node, and with models only where it must judge."""
    assert pool.remote is not None
    grace = max(_grace_s(profile, pool), math.ceil(parse_duration_s(pool.remote.timeout)) + _GRACE_S)
    judges = not profile.resource.spec.judged_tiers.isdisjoint(pool.tiers)
    mounts: list[Manifest] = [{"name": "models", "mountPath": _MODELS}] if judges else []
    only = _container(settings, pool, grace, mounts, started="/healthz", startup_s=_REMOTE_STARTUP_S)
    if secret := pool.remote.api_key_secret:
        source = {"secretKeyRef": {"name": secret.name, "key": secret.key}}
        only["env"].append({"name": pool.remote.key_variable, "valueFrom": source})
    own, default = spec.worker.remote_resources, _JUDGE_RESOURCES if judges else _REMOTE_RESOURCES
    only["env"].append(_THREADS)
    only["resources"] = resources(own if own.cpu or own.memory else default)
    volumes: list[Manifest] = [{"name": "manifest", "configMap": {"name": config}}]
    volumes += [{"name": "models", **_cache(spec.worker.model_cache)}] if judges else []
    return pod(settings, only, volumes, grace) | {"automountServiceAccountToken": False}


def _grace_s(profile: Profile, pool: WorkerPool) -> int:
    longest = max(
        profile.latency_s(t, profile.batch_sizes(t)[-1], True, size)
        for t in pool.tiers
        for size in profile.tiers[t].all_sizes
    )
    # In steps, so that times that were measured anew replace no worker.
    return (math.ceil(longest / _GRACE_S) + 1) * _GRACE_S


def _container(
    settings: OperatorSettings, pool: WorkerPool, grace_s: int, mounts: list[Manifest], *, started: str, startup_s: int
) -> Manifest:
    env = _env(pool, grace_s)
    image = settings.worker_image
    return container("worker", image, settings, PORT, env, mounts, started=started, startup_s=startup_s)


def _env(pool: WorkerPool, grace_s: int) -> dict[str, str]:
    return {
        "HADIS_WORKER_MANIFEST": f"/etc/hadis/{CONFIG_FILE}",
        "HADIS_WORKER_TIERS": ",".join(pool.tiers),
        "HADIS_WORKER_MODELS": _MODELS,
        "HADIS_WORKER_HOST": "0.0.0.0",
        "HADIS_WORKER_PORT": str(PORT),
        "HADIS_WORKER_DRAIN_TIMEOUT": f"{grace_s - 5}s",
        "HADIS_WORKER_COMPILE_CACHE": f"{_MODELS}/.cache/compiled",
        "HF_HOME": f"{_MODELS}/.cache",
        "HOME": "/tmp",
    }


def _gpu_pod(
    spec: ServiceSpec, settings: OperatorSettings, profile: Profile, pool: WorkerPool, config: str
) -> Manifest:
    worker, grace = spec.worker, _grace_s(profile, pool)
    mounts: list[Manifest] = [{"name": "models", "mountPath": _MODELS}]
    only = _container(settings, pool, grace, mounts, started="/readyz", startup_s=_STARTUP_S)
    only["env"].append(_THREADS)
    only["resources"] = resources(worker.resources)
    manifest = {"name": "manifest", "configMap": {"name": config}}
    volumes = [manifest, {"name": "models", **_cache(worker.model_cache)}, *_shared_memory(worker, only)]
    pod_spec = pod(settings, only, volumes, grace) | {"automountServiceAccountToken": False}
    compiles = any(profile.tiers[tier].speed.compile != "off" for tier in pool.tiers)
    pod_spec |= _gpus(worker, only) | _fetch(worker, only, compiles=compiles)
    if worker.node_selector:
        pod_spec["nodeSelector"] = worker.node_selector
    if worker.tolerations:
        pod_spec["tolerations"] = [t.model_dump(by_alias=True, exclude_none=True) for t in worker.tolerations]
    if worker.runtime_class_name:
        pod_spec["runtimeClassName"] = worker.runtime_class_name
    return pod_spec


def _fetch(worker: WorkerPods, only: Manifest, *, compiles: bool) -> Manifest:
    """Return the init container that fetches a worker's models, if the spec asks for it; the worker is offline then.

    It asks for what the worker does but for GPUs. Where it fails, kubelet starts it again, and has its last lines.
    The worker itself may write to its models only where it keeps compiled ones beside them.
    """
    if not worker.model_cache.prefetch:
        return {}
    same = ("image", "imagePullPolicy", "securityContext")
    container = {"name": FETCH, "args": [FETCH], **{name: only[name] for name in same}}
    container |= {"env": [*only["env"]], "volumeMounts": [*only["volumeMounts"]]}
    container |= {"resources": resources(worker.resources), "terminationMessagePolicy": "FallbackToLogsOnError"}
    only["env"].append({"name": "HF_HUB_OFFLINE", "value": "1"})
    if not compiles:
        only["volumeMounts"] = [
            mount | ({"readOnly": True} if mount["name"] == "models" else {}) for mount in only["volumeMounts"]
        ]
    return {"initContainers": [container]}


def _gpus(worker: WorkerPods, only: Manifest) -> Manifest:
    """Have a container ask for a worker's GPUs; return what its pod's spec says of them."""
    claims = worker.resource_claims
    if not claims:
        only["resources"].setdefault("limits", {})[worker.gpu_resource] = str(worker.gpus_per_worker)
        return {}
    only["resources"]["claims"] = [
        {"name": claim.name} | ({"request": claim.request} if claim.request else {}) for claim in claims
    ]
    template = "resourceClaimTemplateName"
    return {"resourceClaims": [{"name": each.name, template: each.resource_claim_template_name} for each in claims]}


def _shared_memory(worker: WorkerPods, only: Manifest) -> list[Manifest]:
    """Return the volume of shared memory, if the spec gives its size, and mount it."""
    if worker.shm_size is None:
        return []
    only["volumeMounts"].append({"name": "shm", "mountPath": "/dev/shm"})
    return [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": worker.shm_size}}]


def _cache(cache: ModelCache) -> Manifest:
    if cache.claim:
        return {"persistentVolumeClaim": {"claimName": cache.claim}}
    if cache.host_path:
        return {"hostPath": {"path": cache.host_path, "type": "Directory"}}
    return {"emptyDir": {}}
