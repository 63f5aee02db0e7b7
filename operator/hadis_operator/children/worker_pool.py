"""Which pools of workers a service has, by its profile and its placement."""

from __future__ import annotations

from dataclasses import dataclass

from hadis.api.remote import Remote
from hadis.planning.profile import Profile
from hadis.protocol.labels import tiers_by_pool

PORT = 8100


@dataclass(frozen=True)
class WorkerPool:
    """Workers that have the same tiers: a Deployment, and a Service by which the router finds them."""

    name: str
    """The tier, or EVERY_TIER."""
    tiers: tuple[str, ...]
    remote: Remote | None = None
    """The endpoint that makes its tier; None where GPUs do."""


def pools(profile: Profile, *, shared: bool) -> list[WorkerPool]:
    """Return one pool for all tiers that GPUs make, or one per tier, and one for each remote tier."""
    by_name = tiers_by_pool(profile.tiers, shared=shared, remote=profile.slots)
    return [WorkerPool(name, tiers, profile.tiers[tiers[0]].remote) for name, tiers in by_name.items()]
