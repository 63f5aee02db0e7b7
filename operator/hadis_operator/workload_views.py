"""Views of Deployments and pods: what of each the operator looks at, parsed once where it enters the cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hadis.api.times import unix_s
from hadis.kube.client import Object
from hadis.planning.snapshot import WAITING_FOR_QUOTA, Problem
from hadis.protocol.fetch import FETCH
from hadis.protocol.labels import COMPONENT, POOL, REMOTE, REVISION, read_gpus

from hadis_operator.views import owner_uid

_DEFAULT_SCHEDULER = "default-scheduler"
"""It looks at a pod at once."""
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


@dataclass(frozen=True)
class DeploymentView:
    """A Deployment of ours."""

    name: str
    component: str
    pool: str
    revision: str
    replicas: int
    created: int
    """Pods that its controllers count."""
    observed: bool
    """Whether its controller has seen the spec as it is."""
    as_made: bool
    """Whether its spec was never changed."""
    deleting: bool
    refused: Problem | None
    config_maps: tuple[str, ...]
    """Names of the ConfigMaps that its pods mount."""
    owner: str = ""
    """UID of the DiffusionService that owns it; empty where none does."""
    remote: bool = False
    """Whether its pods have an endpoint make their images, and no GPU."""
    gpus: int = 1
    """GPUs that each of its pods takes."""


@dataclass(frozen=True)
class PodView:
    """A pod of ours."""

    name: str
    component: str
    pool: str
    revision: str
    address: str
    """Its IP; empty before it has one."""
    ready: bool
    """Whether it is ready and stays."""
    terminating: bool
    finished: bool
    """Whether it has ended, so that it holds nothing any more."""
    started_s: float | None
    unschedulable: Problem | None
    unschedulable_since_s: float | None
    failure: Problem | None
    deletion_cost: str | None
    remote: bool = False
    """Whether an endpoint makes its images, and it has no GPU."""
    gpus: int = 1
    """GPUs that it takes."""
    fetching: bool = False
    """Whether its models are being fetched, before its worker starts."""


def deployment_view(item: Object) -> DeploymentView:
    """Return the view of a Deployment."""
    meta, spec, status = item["metadata"], item["spec"], item.get("status") or {}
    labels = meta.get("labels") or {}
    return DeploymentView(
        name=meta["name"],
        component=labels.get(COMPONENT, ""),
        pool=labels.get(POOL, ""),
        revision=labels.get(REVISION, ""),
        replicas=int(spec.get("replicas", 0)),
        created=int(status.get("replicas", 0)),
        observed=status.get("observedGeneration", 0) >= meta.get("generation", 0),
        as_made=meta.get("generation") == 1,
        deleting="deletionTimestamp" in meta,
        refused=_refused(meta["name"], status),
        config_maps=tuple(config_maps(spec)),
        owner=owner_uid(item),
        remote=REMOTE in labels,
        gpus=read_gpus(labels),
    )


def pod_view(item: Object) -> PodView:
    """Return the view of a pod."""
    meta, status = item["metadata"], item.get("status") or {}
    labels, conditions = meta.get("labels") or {}, status.get("conditions") or []
    terminating = "deletionTimestamp" in meta
    fetch = _fetch_state(status)
    waits = next((c for c in conditions if c["type"] == "PodScheduled" and c["status"] == "False"), None)
    unschedulable = _unschedulable(item, waits)
    since = (waits or {}).get("lastTransitionTime") or meta.get("creationTimestamp")
    return PodView(
        name=meta["name"],
        component=labels.get(COMPONENT, ""),
        pool=labels.get(POOL, ""),
        revision=labels.get(REVISION, ""),
        address=status.get("podIP", ""),
        ready=not terminating and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions),
        terminating=terminating,
        finished=status.get("phase") in ("Succeeded", "Failed"),
        # While models are fetched the worker has not begun.
        started_s=_unix_s(status.get("startTime") if fetch is None else _fetched_at(fetch)),
        unschedulable=unschedulable,
        unschedulable_since_s=_unix_s(since) if unschedulable else None,
        failure=_failure(meta["name"], status),
        deletion_cost=(meta.get("annotations") or {}).get(DELETION_COST),
        remote=REMOTE in labels,
        gpus=read_gpus(labels),
        fetching="running" in (fetch or {}).get("state", {}),
    )


def _fetch_state(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the status of the container that fetches models, where a pod has one."""
    return next((each for each in status.get("initContainerStatuses") or () if each.get("name") == FETCH), None)


def _fetched_at(fetch: Mapping[str, Any]) -> str | None:
    ended = fetch.get("state", {}).get("terminated") or {}
    return ended.get("finishedAt") if ended.get("exitCode") == 0 else None


def _fetch_failure(name: str, fetch: Mapping[str, Any]) -> Problem | None:
    """Return why models could not be fetched, in the last line that was said of it."""
    for state in (fetch.get("state", {}), fetch.get("lastState", {})):
        ended = state.get("terminated") or {}
        if "running" in state or ended.get("exitCode") == 0:
            return None
        if ended:
            said = (ended.get("message") or ended.get("reason") or "").strip().splitlines()
            return Problem("FetchFailed", f"pod {name}: {said[-1] if said else 'no reason was told'}")
    return None


def _unschedulable(item: Object, waits: Mapping[str, Any] | None) -> Problem | None:
    """Return what a pod without a node waits for; `waits` is its condition that says so."""
    name = item["metadata"]["name"]
    if waits is None:
        return _overlooked(name, item.get("spec", {}), item.get("status") or {})
    if waits.get("reason") == "SchedulingGated":
        gates = ", ".join(gate["name"] for gate in item.get("spec", {}).get("schedulingGates") or [])
        return Problem(WAITING_FOR_QUOTA, f"pod {name} waits until its scheduling gates are lifted: {gates}")
    return Problem("Unschedulable", f"pod {name} waits for a node: {waits.get('message', '')}")


def _overlooked(name: str, spec: Mapping[str, Any], status: Mapping[str, Any]) -> Problem | None:
    """Return that a pod is for a scheduler which says nothing of it: one that is not there never will."""
    scheduler = spec.get("schedulerName", _DEFAULT_SCHEDULER)
    seen = "nodeName" in spec or any(each["type"] == "PodScheduled" for each in status.get("conditions") or ())
    if scheduler == _DEFAULT_SCHEDULER or seen:
        return None
    return Problem("Unschedulable", f"pod {name} waits for a node: the scheduler {scheduler} has not looked at it")


def _failure(name: str, status: Mapping[str, Any]) -> Problem | None:
    """Return why a pod cannot become ready by itself."""
    if (fetch := _fetch_state(status)) is not None and (failure := _fetch_failure(name, fetch)) is not None:
        return failure
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return Problem(str(waiting["reason"]), f"pod {name}: {waiting.get('message') or waiting['reason']}")
    return None


def _refused(name: str, status: Mapping[str, Any]) -> Problem | None:
    """Return why a Deployment may not create its pods, for example over a quota."""
    for condition in status.get("conditions") or []:
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            text = f"{name}: {condition.get('message', '')}"
            return Problem("QuotaExceeded" if "quota" in text else "PodsRefused", text)
    return None


def config_maps(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the ConfigMaps that the pods of a Deployment's spec mount."""
    for volume in spec.get("template", {}).get("spec", {}).get("volumes") or []:
        for source in (volume, *((volume.get("projected") or {}).get("sources") or ())):
            if name := (source.get("configMap") or {}).get("name"):
                yield name


def _unix_s(text: str | None) -> float | None:
    return unix_s(text) if text else None
