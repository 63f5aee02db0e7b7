"""The objects of a service, from its spec and profile: pure functions to plain manifests."""

from __future__ import annotations

from dataclasses import dataclass

from hadis.api.resources import ServiceSpec
from hadis.planning.profile import Profile

from hadis_operator.children import network, router, worker
from hadis_operator.children.common import Manifest, Owner, service_secret
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
    told_profile = worker.profile_config(owner, profile)
    told_service = router.service_config(owner, spec)
    pools = worker.pools(profile, shared=shared)
    config, name = told_profile["metadata"]["name"], profile.resource.metadata.name
    fixed = [told_profile, told_service]
    fixed += router.children(owner, spec, settings, told_service["metadata"]["name"], (config, name))
    fixed += [worker.service(owner, pool) for pool in pools]
    fixed += network.policies(owner, spec, settings)
    return Children(
        tuple(fixed),
        {pool.name: worker.deployment(owner, spec, settings, profile, pool, config) for pool in pools},
        service_secret(owner),
    )
