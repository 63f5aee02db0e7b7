"""What every policy of a comparison has in common."""

from __future__ import annotations

from dataclasses import dataclass

from hadis.api.fields import parse_duration_s
from hadis.api.resources import ServiceSpec
from hadis.planning.profile import Profile

from hadis_profiler.replay.clients import ClientMix
from hadis_profiler.replay.disturbances import Disturbances
from hadis_profiler.replay.only import OnlyTier
from hadis_profiler.replay.sizes import SizeMix


@dataclass(frozen=True)
class Setting:
    """A service, what it has, and what it meets."""

    profile: Profile
    spec: ServiceSpec
    change_cost_s: float = 0.0
    """Seconds until a pod that has its GPUs is ready."""
    queue_limit: int = 100_000
    disturbances: Disturbances = Disturbances()
    seed: int = 0
    """Of whatever is drawn."""
    clients: ClientMix = ClientMix()
    sizes: SizeMix = SizeMix()
    only: OnlyTier = OnlyTier()

    def __post_init__(self) -> None:
        """Raise ValueError for what a replay does not have."""
        if self.spec.rollout is not None:
            raise ValueError("spec.rollout: a replay has one profile; leave it out, and replay each profile by itself")

    @property
    def workers(self) -> int:
        """Workers that the GPUs are enough for."""
        return self.spec.worker_bounds.max

    @property
    def slo_s(self) -> float:
        """The latency objective."""
        return parse_duration_s(self.spec.objective.latency)
