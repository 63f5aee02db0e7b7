"""The objects of a service, from its spec and profile: pure functions to plain manifests."""

from __future__ import annotations

from dataclasses import dataclass

from hadis.api.resources import ServiceSpec
from hadis.planning.profile import Profile

from hadis_operator.children import network, router, worker, worker_pool
from hadis_operator.children.common import Manifest, Owner, service_secret, stamped
from hadis_operator.children.worker_profile import tiers_config
from hadis_operator.settings import OperatorSettings


@dataclass(frozen=True)
class Children:
    """What a service has: everything that no plan changes, and the worker Deployments without a count."""

    fixed: tuple[Manifest, ...]
    workers: dict[str, Manifest]
    """By pool; `replicas` is left to the plan."""
    secret: Manifest
    """Without what it holds."""


def make(owner: Owner, spec: ServiceSpec, settings: OperatorSettings, profile: Profile, *, shared: bool) -> Children:
    """Return the children of a service."""
    profile_map = worker.profile_config(owner, profile)
    service_map = router.service_config(owner, spec)
    pools = worker_pool.pools(profile, shared=shared)
    config, name = profile_map["metadata"]["name"], profile.resource.metadata.name
    fixed = [profile_map, service_map]
    fixed += router.children(owner, spec, settings, service_map["metadata"]["name"], (config, name))
    fixed += network.policies(owner, spec, settings)
    workers = {}
    for pool in pools:
        tiers = tiers_config(owner, profile, pool.tiers)
        fixed += [tiers, worker.service(owner, pool), worker.disruption_budget(owner, pool)]
        workers[pool.name] = worker.deployment(owner, spec, settings, profile, pool, tiers["metadata"]["name"])
    return Children(
        tuple(stamped(document) for document in fixed),
        {pool: stamped(document) for pool, document in workers.items()},
        service_secret(owner),
    )
