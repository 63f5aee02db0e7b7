"""The workers' objects: pools of workers that have the same tiers, each a Deployment and a Service."""

from __future__ import annotations

from functools import lru_cache

from hadis.api.compact import compact_document
from hadis.api.resources import ServiceSpec
from hadis.planning.gpu_budget import REPLACED_AT_ONCE
from hadis.planning.profile import Profile
from hadis.protocol.labels import COMPONENT, GPUS, POOL, REMOTE, REVISION, SERVICE, digest, label

from hadis_operator.children import common
from hadis_operator.children.common import (
    Manifest,
    Owner,
    as_yaml,
    child_name,
    config_map,
    labels,
    meta,
    packed,
    secret_variable,
    service_port,
)
from hadis_operator.children.pod_fields import pod_metadata, with_fields
from hadis_operator.children.tracing import trace_env
from hadis_operator.children.worker_pod import worker_pod
from hadis_operator.children.worker_pool import PORT, WorkerPool
from hadis_operator.settings import OperatorSettings

PROFILE = "profile"
"""The component that ConfigMaps with profiles are labelled with."""
_MOST_BYTES = 1_000_000
"""Of a packed profile: a ConfigMap holds 1 MiB."""
_AT_ONCE = f"{100 // REPLACED_AT_ONCE}%"
"""Of a pool's workers; at least one."""
_ON_ANY_NODE = {"affinity": None, "topology_spread_constraints": ()}
"""What of a worker's fields is not for pods without a GPU."""


def profile_config(owner: Owner, profile: Profile) -> Manifest:
    """Return the ConfigMap with the profile as pods read it."""
    return config_map(owner, PROFILE, *_profile_content(profile))


def profile_fits(profile: Profile) -> bool:
    """Return whether a ConfigMap can hold the profile."""
    return len(_profile_content(profile)[0]) <= _MOST_BYTES


@lru_cache(maxsize=64)
def _profile_content(profile: Profile) -> tuple[bytes, str]:
    """Return a profile, packed, with its hash: big, and the same for all services that use it."""
    metadata = {"name": profile.resource.metadata.name}
    document = compact_document(profile.resource) | {"metadata": metadata}
    text = as_yaml(document)
    return packed(text), digest(text)


def service_name(service: str, pool: str) -> str:
    """Return the name of the Service of a pool of a service's workers."""
    return child_name(service, f"workers-{digest(pool)[:6]}")


def service(owner: Owner, pool: WorkerPool) -> Manifest:
    """Return a pool's headless Service. Its EndpointSlices carry its labels, so that the router knows the tiers."""
    name = service_name(owner.name, pool.name)
    selector = {SERVICE: label(owner.name), COMPONENT: "worker", POOL: pool.name}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta(owner, name, "worker", **{POOL: pool.name}),
        "spec": {"clusterIP": "None", "selector": selector, "ports": [service_port(PORT)]},
    }


def disruption_budget(owner: Owner, pool: WorkerPool) -> Manifest:
    """Return a pool's PodDisruptionBudget: drains take as many workers at a time as a rollout does."""
    selector = {SERVICE: label(owner.name), COMPONENT: "worker", POOL: pool.name}
    name = service_name(owner.name, pool.name)
    return common.disruption_budget(meta(owner, name, "worker", **{POOL: pool.name}), selector, _AT_ONCE)


def deployment(
    owner: Owner, spec: ServiceSpec, settings: OperatorSettings, profile: Profile, pool: WorkerPool, config: str
) -> Manifest:
    """Return a pool's Deployment with no replicas yet. Its name has its pods' hash: other pods are another Deployment.

    So the operator moves GPUs from old pods to new ones as it moves them between tiers, freed before they are taken,
    which no strategy of a Deployment does.
    """
    bare = worker_pod(spec, settings, profile, pool, config)
    env = bare["containers"][0]["env"]
    env += [secret_variable(owner, "HADIS_WORKER_SECRET"), *trace_env(owner, spec, settings)]
    fields = spec.worker if pool.remote is None else spec.worker.model_copy(update=_ON_ANY_NODE)
    of_pool = {SERVICE: label(owner.name), COMPONENT: "worker", POOL: pool.name}
    each = spec.worker.gpus_per_worker
    gpus = {GPUS: str(each)} if each > 1 and pool.remote is None else {}
    kind = gpus | ({REMOTE: "true"} if pool.remote else {})
    spec_of_pods, added = with_fields(bare, fields, of_pool), pod_metadata(fields, {**owner.labels, **gpus})
    parts = [pool.name, spec_of_pods, *([added] if added != {"labels": {}} else [])]
    name = child_name(owner.name, f"worker-{digest(parts)}")
    marks = {POOL: pool.name, REVISION: name.rsplit("-", 1)[1]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta(owner, name, "worker", **marks, **kind),
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {SERVICE: label(owner.name), **marks}},
            # For restarts by hand: what we change ourselves is another Deployment. No pod beyond the count.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": _AT_ONCE}},
            "template": {
                "metadata": pod_metadata(fields, labels(owner, "worker", **marks, **kind)),
                "spec": spec_of_pods,
            },
        },
    }
