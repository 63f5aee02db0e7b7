"""What a service's status says of it: conditions in Kubernetes' form, from what was planned and what exists. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hadis.api.resources import ServiceSpec
from hadis.planning.plan import Plan

from hadis_operator.reconcile import is_ready

Object = dict[str, Any]
Trouble = tuple[str, str]
"""A reason and a message."""


@dataclass(frozen=True)
class Verdict:
    """One condition without its times."""

    type: str
    status: bool | None
    reason: str
    message: str


def with_times(verdicts: Sequence[Verdict], before: Sequence[Object], generation: int, now: str) -> list[Object]:
    """Return conditions as the status holds them; the time of one that did not change stays."""
    old = {c["type"]: c for c in before}
    found = []
    for v in verdicts:
        status = {True: "True", False: "False", None: "Unknown"}[v.status]
        last = old.get(v.type, {})
        since = last["lastTransitionTime"] if last.get("status") == status else now
        found.append({"type": v.type, "status": status, "reason": v.reason, "message": v.message,
                      "lastTransitionTime": since, "observedGeneration": generation})  # fmt: skip
    return found


def pod_troubles(pods: Sequence[Object], now: datetime, late_s: float) -> Trouble | None:
    """Return (reason, message) of the first pod that cannot become ready by itself; None where all is well.

    One that has run for `late_s` without being ready is late: its models should have been loaded by then.
    """
    for pod in sorted(pods, key=lambda p: str(p["metadata"]["name"])):
        name, status = pod["metadata"]["name"], pod.get("status", {})
        if waits := _waits_for_node(pod):
            return "Unschedulable", f"pod {name} waits for a node: {waits.get('message', '')}"
        for container in status.get("containerStatuses", []):
            waiting = container.get("state", {}).get("waiting") or {}
            if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
                return str(waiting["reason"]), f"pod {name}: {waiting.get('message') or waiting['reason']}"
        if status.get("phase") == "Failed":
            return "PodFailed", f"pod {name} failed: {status.get('message') or status.get('reason', '')}"
        began = status.get("startTime")
        runs_s = (now - datetime.fromisoformat(began)).total_seconds() if began else 0.0
        if runs_s > late_s:
            return "NotReady", f"pod {name} has run for {late_s:.0f} s and more without being ready; its log says why"
    return None


def create_troubles(deployments: Sequence[Object]) -> tuple[str, str] | None:
    """Return (reason, message) where a Deployment may not create its pods, for example over a quota."""
    for deployment in deployments:
        for condition in deployment.get("status", {}).get("conditions", []):
            if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
                text = f"{deployment['metadata']['name']}: {condition.get('message', '')}"
                return ("QuotaExceeded" if "quota" in text else "PodsRefused"), text
    return None


def nodes_have_room(pods: Sequence[Object], deployments: Sequence[Object], now: datetime, late_s: float) -> bool:
    """Return False where a quota refuses pods, or one has waited for a node for `late_s`: no autoscaler brings it."""
    if create_troubles(deployments):
        return False
    since = [waits.get("lastTransitionTime") for waits in map(_waits_for_node, pods) if waits]
    return all((now - datetime.fromisoformat(at)).total_seconds() <= late_s for at in since if at)


def _waits_for_node(pod: Object) -> Object | None:
    """Return the condition that says that no node takes a pod."""
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return dict(condition)
    return None


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@dataclass(frozen=True)
class Found:
    """What a turn knows when it judges."""

    spec: ServiceSpec
    active: Plan | None
    goal: Plan | None
    wanted: int
    """GPUs that the goal asks for."""
    pods: Sequence[Object]
    """Workers that hold a GPU."""
    deployments: Sequence[Object]
    routers: int
    """Routers that are ready."""
    now: datetime
    late_s: float


def judge(found: Found) -> list[Verdict]:
    """Return the conditions of a service that is planned."""
    trouble = create_troubles(found.deployments) or pod_troubles(
        [p for p in found.pods if not is_ready(p)], found.now, found.late_s
    )
    serving = sum(map(is_ready, found.pods))
    active = found.active
    bad = trouble or (("PlanInfeasible", active.reason) if active and not active.feasible else None)
    return [
        _capacity(found, trouble),
        _applied(found, serving, trouble),
        Verdict("Degraded", bool(bad), *(bad or ("AsPlanned", "nothing is wrong"))),
        _serving(found, serving, trouble),
    ]


def _capacity(found: Found, trouble: Trouble | None) -> Verdict:
    goal = found.goal
    if goal is not None and not goal.feasible:
        return Verdict("CapacitySufficient", False, "TooFewGpus", goal.reason)
    if trouble and trouble[0] in ("Unschedulable", "QuotaExceeded"):
        return Verdict("CapacitySufficient", False, *trouble)
    return Verdict("CapacitySufficient", True, "Sufficient", goal.reason if goal else "the demand is not known yet")


def _applied(found: Found, serving: int, trouble: Trouble | None) -> Verdict:
    if found.spec.mode == "Advisory":
        text = f"mode is Advisory: {found.wanted} GPUs would be asked for"
        return Verdict("PlanApplied", False, "Advisory", text)
    if serving == found.wanted == len(found.pods):
        return Verdict("PlanApplied", True, "Applied", _count(serving, "ready worker"))
    text = f"{serving} of {found.wanted} workers are ready, {len(found.pods)} exist"
    return Verdict("PlanApplied", False, *(trouble or ("Scaling", text)))


def _serving(found: Found, serving: int, trouble: Trouble | None) -> Verdict:
    if not found.routers:
        return Verdict("Ready", False, "NoRouter", "no router is ready yet")
    if not serving:
        return Verdict("Ready", False, *(trouble or ("NoWorker", "no worker is ready yet")))
    return Verdict("Ready", True, "Serving", f"{_count(found.routers, 'router')}, {_count(serving, 'worker')}")
