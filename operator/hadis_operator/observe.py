"""Observe: one service's Snapshot from the caches and a reading of the demand. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from hadis.api.images_api import check_aliases
from hadis.api.resources import ServiceSpec
from hadis.planning.profile import Profile
from hadis.planning.rollout import Rollout
from hadis.planning.sizes import read_mix
from hadis.planning.snapshot import DemandReading, Memory, Problem, Snapshot, Worker, WorkerGroup
from hadis.planning.speeds import read_ratios
from hadis.protocol.address import http_url
from hadis.protocol.labels import POOL, REMOTE, REVISION, resident_tiers

from hadis_operator.children import Children
from hadis_operator.children.worker import PORT
from hadis_operator.views import DeploymentView, PodView, ServiceView


def memory_of(service: ServiceView) -> Memory:
    """Return what is remembered of a service after a restart: its status says it."""
    status = service.status
    ratios = read_ratios(status.batch_time_ratios)
    return Memory(
        plan=status.plan.active,
        workers_by_tier=status.wanted_by_tier or None,
        ratios=ratios,
        mix=read_mix(status.size_shares),
        profile_hash=status.profile_hash,
        rollout=status.rollout or Rollout(),
    )


def fitting(spec: ServiceSpec, profile: Profile | Problem) -> Profile | Problem:
    """Return the profile, or why a service cannot be served with it: what spec and profile do not agree on."""
    if isinstance(profile, Profile):
        try:
            check_aliases(spec.api, profile.tiers)
        except ValueError as error:
            return Problem("UnknownTier", f"{error}; what runs goes on as it is")
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
    candidate: Profile | None = None,
) -> Snapshot:
    """Return the snapshot; groups are named by their pods' revision. `children` is None where there is no profile."""
    tiers, remote = (tuple(profile.tiers), profile.slots) if isinstance(profile, Profile) else ((), {})
    return Snapshot(
        now_s=now_s,
        spec=spec,
        profile=profile,
        reading=reading,
        workers=tuple(worker_of(pod, tiers, remote) for pod in worker_pods),
        groups=tuple(groups_of(children, deployments, tiers, remote)),
        routers=routers,
        late_s=late_s,
        candidate=candidate,
    )


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
            yield WorkerGroup(revision, resident_tiers(pool, tiers, remote), exists=False, remote=by_endpoint)
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
        url=http_url(pod.address, PORT) if pod.address else "",
        remote=pod.remote,
    )
