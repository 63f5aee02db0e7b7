"""What one control step sees: small frozen types that operator, `hadis up` and replay fill.

Times are seconds of whatever clock the caller has; only differences count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hadis.api.resources import Gpus, ServiceSpec
from hadis.planning.comparison import GroupCounts
from hadis.planning.profile import Profile
from hadis.planning.speeds import Ratios
from hadis.planning.watched_quality import WatchSums

WAITING_FOR_QUOTA = "WaitingForQuota"
"""Reason of a worker that another controller, Kueue for example, holds back until there is quota: nothing is wrong."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with something: a reason for programs and a message for people."""

    reason: str
    message: str


@dataclass(frozen=True)
class Quiet:
    """How long routers have had nothing to do."""

    for_s: float
    """Seconds since their last request; 0 while one is not answered, infinite where none came since they started."""
    complete: bool = True
    """Whether every router that is ready was read."""


@dataclass(frozen=True)
class DemandReading:
    """Counters of arrivals as they were at a time; the work that waits and the times that batches take, where known."""

    at_s: float
    series: Mapping[str, float]
    """Arrivals so far, by router, or by router and image size."""
    queued_s: Mapping[str, float] = field(default_factory=dict)
    """GPU seconds of waiting work, by tier."""
    ratios: Ratios = field(default_factory=dict)
    """What batches took, divided by what the profile says, by tier and batch size, as routers learn it."""
    worker_ratios: Mapping[str, float] = field(default_factory=dict)
    """By worker's URL, how many times as long as its peers it takes for a batch."""
    source: str = ""
    """Where it was read, for the condition's message."""
    sizes: Mapping[str, str] = field(default_factory=dict)
    """By series, the image size that it counts (`auto` where requests leave it open), where it is of one."""
    restricted: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Arrivals so far that only some tiers may make: by these (see `restricted`) and by router."""
    quiet: Quiet | None = None
    """Where routers themselves were read."""
    groups: Mapping[str, GroupCounts] = field(default_factory=dict)
    """By profile's hash, what routers counted since they try a new one."""
    quality: WatchSums | None = None
    """What routers had judged lately, where they do."""


@dataclass(frozen=True)
class Worker:
    """One worker, which holds a GPU unless it is remote: a pod, or a process on one machine."""

    name: str
    group: str
    tiers: tuple[str, ...]
    """The tiers that it keeps resident."""
    ready: bool = False
    """Whether it serves; one that terminates does not."""
    terminating: bool = False
    started_s: float | None = None
    """When its containers could begin to start; None before."""
    unschedulable: Problem | None = None
    unschedulable_since_s: float | None = None
    failure: Problem | None = None
    """Why it cannot become ready by itself."""
    fetching: bool = False
    """Whether its models are fetched, before it can begin."""
    url: str = ""
    """Where routers reach it, which is how they name it."""
    remote: bool = False
    """Whether it has an endpoint make its images, and no GPU."""
    gpus: int = 1
    """GPUs that it takes, unless it is remote."""


@dataclass(frozen=True)
class WorkerGroup:
    """Workers that come from one template: a Deployment, or the processes of one tier on one machine."""

    name: str
    tiers: tuple[str, ...]
    """The tiers that each of its workers keeps resident."""
    replicas: int = 0
    """Workers that are asked of it now."""
    created: int = 0
    """Workers that its controller counts, as of the last status that was seen."""
    observed: bool = True
    """Whether its controller has seen the present `replicas`."""
    as_made: bool = False
    """Whether it was never asked for anything else than now."""
    stale: bool = False
    """Whether its template is not what the spec asks for any more."""
    exists: bool = True
    """Whether there is such a Deployment; one that is desired may still have to be made."""
    refused: Problem | None = None
    """Why its controller may not create workers, for example a quota."""
    remote: bool = False
    """Whether its workers have an endpoint make their images, and no GPUs."""
    gpus: int = 1
    """GPUs that each of its workers takes, unless they are remote."""

    @property
    def followed(self) -> bool:
        """Whether its controller has seen the present count and reached it."""
        return self.observed and self.created == self.replicas


@dataclass(frozen=True)
class PoolGrant:
    """What a service may take of a pool now."""

    gpus: int
    problem: Problem | None = None
    """Why it may take no more than it holds, if something is wrong."""


@dataclass(frozen=True)
class Serving:
    """What of a service answers requests, whatever is planned, and what keeps more of it from that."""

    now_s: float
    workers: tuple[Worker, ...]
    groups: tuple[WorkerGroup, ...]
    routers: int
    late_s: float
    router_problem: Problem | None = None
    child_problem: Problem | None = None


@dataclass(frozen=True)
class Snapshot:
    """One service and everything that a decision on it depends on, as seen at one moment."""

    now_s: float
    spec: ServiceSpec
    profile: Profile | Problem
    reading: DemandReading | Problem
    """The demand, or why there is no reading of it."""
    workers: tuple[Worker, ...]
    groups: tuple[WorkerGroup, ...]
    """Every group there is, and those that the spec asks for."""
    routers: int = 1
    """Routers that are ready."""
    late_s: float = 600.0
    """Seconds after which a worker that is not ready is late: its models should have been loaded by then."""
    candidate: Profile | None = None
    """The new profile that the service names, where another one is in force still."""
    quiet: Quiet | None = None
    """None where no router was read."""
    pool: PoolGrant | None = None
    """What it may take of the GPUs that it shares with other services; None where it shares none."""
    router_problem: Problem | None = None
    """What keeps a router from becoming ready."""
    child_problem: Problem | None = None
    """What of the service could not be written, or is written by others too."""

    @property
    def gpus(self) -> Gpus:
        """The GPUs that it may have now."""
        gpus = self.spec.gpus
        if self.pool is None:
            return gpus
        most = min(gpus.max, self.pool.gpus)
        return gpus.model_copy(update={"min": min(gpus.min, most), "max": most})

    @property
    def worker_bounds(self) -> Gpus:
        """How many workers with GPUs it may have now."""
        return self.spec.model_copy(update={"gpus": self.gpus}).worker_bounds

    @property
    def serving(self) -> Serving:
        """The part of it that depends on no spec and no profile."""
        return Serving(
            self.now_s, self.workers, self.groups, self.routers, self.late_s, self.router_problem, self.child_problem
        )
