"""Observe: one service's Snapshot from the caches and a reading of the demand. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from hadis.api.conditions import is_true
from hadis.api.images_api import check_aliases
from hadis.api.resources import ServiceSpec
from hadis.api.status import ServiceStatus
from hadis.planning.memory import Memory, Rest
from hadis.planning.profile import Profile
from hadis.planning.readings import ratios_of
from hadis.planning.restricted import read_restricted
from hadis.planning.rollout import Rollout
from hadis.planning.sizes import read_mix
from hadis.planning.snapshot import DemandReading, Problem, Quiet, Snapshot, Worker, WorkerGroup
from hadis.planning.watched_quality import CONDITION
from hadis.protocol.address import http_url, worker_name
from hadis.protocol.labels import POOL, REMOTE, REVISION, read_gpus, resident_tiers

from hadis_operator.children import Children
from hadis_operator.children.worker import profile_fits
from hadis_operator.children.worker_pool import PORT
from hadis_operator.views import ServiceView
from hadis_operator.workload_views import DeploymentView, PodView


def memory_of(service: ServiceView) -> Memory:
    """Return what is remembered of a service after a restart: its status says it, as far as it can be believed."""
    status = service.status
    return Memory(
        plan=status.plan.active,
        workers_by_tier={tier: count for tier, count in status.desired_by_tier.items() if count >= 0} or None,
        ratios=ratios_of(status.batch_time_ratios),
        mix=read_mix({size: share for size, share in status.size_shares.items() if 0 < share <= 1}),
        restricted=read_restricted(status.restricted_shares),
        profile_hash=status.profile_hash,
        rest=_rest_of(status),
        rollout=status.rollout or Rollout(),
        quality_as_predicted=next((is_true(each) for each in status.conditions if each.type == CONDITION), None),
    )


def _rest_of(status: ServiceStatus) -> Rest:
    idle = next((each for each in status.conditions if each.type == "Idle"), None)
    if idle is None:
        return Rest()
    return Rest(idle=idle.status == "True", waking=idle.reason == "Waking", start_s=status.start_seconds)


def fitting(spec: ServiceSpec, profile: Profile | Problem) -> Profile | Problem:
    """Return the profile, or why a service cannot be served with it: what spec and profile do not agree on."""
    if isinstance(profile, Profile):
        try:
            check_aliases(spec.api, profile.tiers)
        except ValueError as error:
            return Problem("UnknownTier", f"{error}; what runs goes on as it is")
        if not profile_fits(profile):
            text = "packed, it is over what a ConfigMap holds (1 MiB); leave out cascades, or steps of their ratios"
            return Problem("ProfileTooLarge", f"{text}; what runs goes on as it is")
    return profile


def snapshot_of(
    now_s: float,
    spec: ServiceSpec,
    profile: Profile | Problem,
    children: Children | None,
    reading: DemandReading | Problem,
    deployments: Sequence[DeploymentView],
    worker_pods: Iterable[PodView],
    routers: int,
    late_s: float,
    quiet: Quiet | None = None,
    router_problem: Problem | None = None,
    child_problem: Problem | None = None,
    candidate: Profile | None = None,
) -> Snapshot:
    """Return the snapshot; groups are named by their pods' revision. `children` is None where there is no profile."""
    tiers, remote = (tuple(profile.tiers), profile.slots) if isinstance(profile, Profile) else ((), {})
    workers = tuple(worker_of(pod, tiers, remote) for pod in worker_pods)
    return Snapshot(
        now_s=now_s,
        spec=spec,
        profile=profile,
        reading=_by_address(reading, workers) if isinstance(reading, DemandReading) else reading,
        workers=workers,
        groups=tuple(groups_of(children, deployments, tiers, remote)),
        routers=routers,
        late_s=late_s,
        quiet=quiet,
        router_problem=router_problem,
        child_problem=child_problem,
        candidate=candidate,
    )


def _by_address(reading: DemandReading, workers: Iterable[Worker]) -> DemandReading:
    """Return a reading that knows workers by their addresses, as the planner does; routers tell their names."""
    addresses = {worker_name(worker.url): worker.url for worker in workers}
    ratios = {addresses.get(name, name): ratio for name, ratio in reading.worker_ratios.items()}
    return replace(reading, worker_ratios=ratios)


def problem_of_routers(
    deployments: Iterable[DeploymentView], pods: Iterable[PodView], now_s: float, late_s: float
) -> Problem | None:
    """Return what keeps routers from becoming ready: that they may not be made, or what the first one waits for."""
    for deployment in deployments:
        if deployment.refused:
            return deployment.refused
    for pod in sorted(pods, key=lambda each: each.name):
        if pod.ready or pod.terminating:
            continue
        if problem := pod.failure or pod.unschedulable:
            return problem
        if pod.started_s is not None and now_s - pod.started_s > late_s:
            text = f"router {pod.name} has run for {late_s:.0f} s and more without being ready; its log says why"
            return Problem("NotReady", text)
    return None


def groups_of(
    children: Children | None,
    deployments: Sequence[DeploymentView],
    tiers: tuple[str, ...],
    remote: Collection[str] = (),
) -> Iterable[WorkerGroup]:
    """Yield the groups that the spec asks for, in their order, then those of former specs."""
    documents = children.workers.values() if children else ()
    desired = {d["metadata"]["labels"][REVISION]: d["metadata"]["labels"] for d in documents}
    existing = {deployment.revision: deployment for deployment in deployments}
    for revision in (*desired, *(r for r in existing if r not in desired)):
        deployment, stale = existing.get(revision), revision not in desired
        if deployment is None:
            pool, by_endpoint = desired[revision][POOL], REMOTE in desired[revision]
            yield WorkerGroup(
                revision,
                resident_tiers(pool, tiers, remote),
                exists=False,
                remote=by_endpoint,
                gpus=read_gpus(desired[revision]),
            )
        else:
            yield WorkerGroup(
                name=revision,
                tiers=resident_tiers(deployment.pool, tiers, remote),
                replicas=deployment.replicas,
                created=deployment.created,
                observed=deployment.observed,
                as_made=deployment.as_made,
                stale=stale,
                refused=deployment.refused,
                remote=deployment.remote,
                gpus=deployment.gpus,
            )


def worker_of(pod: PodView, tiers: tuple[str, ...], remote: Collection[str] = ()) -> Worker:
    """Return a worker's pod as the planner sees it."""
    return Worker(
        name=pod.name,
        group=pod.revision,
        tiers=resident_tiers(pod.pool, tiers, remote),
        ready=pod.ready,
        terminating=pod.terminating,
        started_s=pod.started_s,
        unschedulable=pod.unschedulable,
        unschedulable_since_s=pod.unschedulable_since_s,
        failure=pod.failure,
        fetching=pod.fetching and not pod.terminating,
        url=http_url(pod.address, PORT) if pod.address else "",
        remote=pod.remote,
        gpus=pod.gpus,
    )
