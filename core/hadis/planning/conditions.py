"""What a service's conditions say, from what was observed and planned. Pure; times are filled in by who writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hadis.api.conditions import Condition, condition
from hadis.planning.fleet import worker_ratio
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.planning.shortfall import shortfall
from hadis.planning.snapshot import Problem, Snapshot, Worker, WorkerGroup
from hadis.planning.speeds import SLOW_WORKER, Ratios, out_of_date

_AWAY_S = 30.0
"""Seconds after its start in which a worker that loads nothing should have had an answer of its endpoint."""
_CAPACITY = ("Unschedulable", "QuotaExceeded")
"""Reasons of problems that more GPUs would solve."""


@dataclass(frozen=True)
class DesiredState:
    """What a step planned, as far as the conditions tell it."""

    active: Plan | None
    target: Plan | None
    workers: int
    """Workers to have in all."""
    ratios: Ratios = field(default_factory=dict)
    """Times of batches that are planned with through the profile's."""


def profile_condition(profile: Profile | Problem) -> Condition:
    """Return whether the profile can be used."""
    if isinstance(profile, Problem):
        return condition("ProfileValid", False, profile.reason, profile.message)
    tiers = ", ".join(profile.tiers)
    text = f"{len(profile.configurations)} configurations of {tiers}; content {profile.hash}"
    return condition("ProfileValid", True, "Valid", text)


def paused_condition() -> Condition:
    """Return the condition of a service that is left as it is."""
    return condition("PlanApplied", None, "Paused", "mode is Paused: nothing is planned or changed")


def service_conditions(snapshot: Snapshot, planned: DesiredState) -> list[Condition]:
    """Return the conditions of a service that was planned."""
    unready = [worker for worker in snapshot.workers if not worker.ready]
    problem = group_problem(snapshot.groups) or worker_problem(unready, snapshot.now_s, snapshot.late_s)
    serving = sum(worker.ready for worker in snapshot.workers)
    return [
        _metrics(snapshot),
        _capacity(snapshot, planned, problem),
        _applied(snapshot, planned, serving, problem),
        _degraded(planned.active, problem or slow_worker(snapshot)),
        _ready(snapshot, serving, problem),
        _profile_fresh(planned.ratios),
    ]


def worker_problem(workers: Iterable[Worker], now_s: float, late_s: float) -> Problem | None:
    """Return what keeps the first worker, by name, from becoming ready by itself; None where all is well.

    One that has run for `late_s` without being ready is late: its models should have been loaded by then.
    """
    for worker in sorted(workers, key=lambda w: w.name):
        if worker.unschedulable or worker.failure:
            return worker.unschedulable or worker.failure
        if worker.terminating or worker.started_s is None:
            continue
        if worker.remote and now_s - worker.started_s > min(_AWAY_S, late_s):
            tiers = ", ".join(worker.tiers)
            text = f"worker {worker.name} has no good answer from the endpoint of {tiers}; its log says why"
            return Problem("EndpointAway", text)
        if now_s - worker.started_s > late_s:
            text = f"worker {worker.name} has run for {late_s:.0f} s and more without being ready; its log says why"
            return Problem("NotReady", text)
    return None


def slow_worker(snapshot: Snapshot) -> Problem | None:
    """Return which worker is much slower than its peers; None where none is."""
    ratios = {w.name: worker_ratio(snapshot, w) for w in snapshot.workers if w.ready}
    name = max(ratios, key=ratios.__getitem__, default="")
    if not name or ratios[name] < SLOW_WORKER:
        return None
    text = f"worker {name} takes {ratios[name]:.1f} times as long as its peers; look at its GPU and its node"
    return Problem("SlowWorker", text)


def group_problem(groups: Iterable[WorkerGroup]) -> Problem | None:
    """Return why the first group that may not create its workers may not."""
    return next((group.refused for group in groups if group.refused), None)


def nodes_have_room(workers: Sequence[Worker], groups: Iterable[WorkerGroup], now_s: float, late_s: float) -> bool:
    """Return False where a quota refuses workers, or one waited `late_s` for a node: no autoscaler brings one."""
    waiting_since = [w.unschedulable_since_s for w in workers if w.unschedulable]
    return group_problem(groups) is None and all(now_s - at <= late_s for at in waiting_since if at is not None)


def _metrics(snapshot: Snapshot) -> Condition:
    reading = snapshot.reading
    if isinstance(reading, Problem):
        return condition("MetricsAvailable", False, reading.reason, f"{reading.message}; the last plan is held")
    return condition("MetricsAvailable", True, "Read", reading.source)


def _capacity(snapshot: Snapshot, planned: DesiredState, problem: Problem | None) -> Condition:
    target = planned.target
    if short := shortfall(snapshot, target):
        return condition("CapacitySufficient", False, short.reason, short.message)
    if problem and problem.reason in _CAPACITY:
        return condition("CapacitySufficient", False, problem.reason, problem.message)
    text = target.reason if target else "the demand is not known yet"
    return condition("CapacitySufficient", True, "Sufficient", text)


def _applied(snapshot: Snapshot, planned: DesiredState, serving: int, problem: Problem | None) -> Condition:
    existing = len(snapshot.workers)
    if snapshot.spec.mode == "Advisory":
        text = f"mode is Advisory: {planned.workers} workers would be asked for"
        return condition("PlanApplied", False, "Advisory", text)
    if serving == planned.workers == existing:
        return condition("PlanApplied", True, "Applied", _count(serving, "ready worker"))
    if problem:
        return condition("PlanApplied", False, problem.reason, problem.message)
    text = f"{serving} of {planned.workers} workers are ready, {existing} exist"
    return condition("PlanApplied", False, "Scaling", text)


def _degraded(active: Plan | None, problem: Problem | None) -> Condition:
    if problem is None and active is not None and not active.feasible:
        problem = Problem("PlanInfeasible", active.reason)
    if problem:
        return condition("Degraded", True, problem.reason, problem.message)
    return condition("Degraded", False, "AsPlanned", "nothing is wrong")


def _profile_fresh(ratios: Ratios) -> Condition:
    stale = out_of_date(ratios)
    if not stale:
        return condition("ProfileFresh", True, "AsMeasured", "batches take about as long as the profile says")
    times = ", ".join(f"{tier} {ratio:.2g}" for tier, ratio in stale.items())
    text = f"batches take this many times as long as the profile says: {times}; plans allow for it; measure it again"
    return condition("ProfileFresh", False, "Stale", text)


def _ready(snapshot: Snapshot, serving: int, problem: Problem | None) -> Condition:
    if not snapshot.routers:
        return condition("Ready", False, "NoRouter", "no router is ready yet")
    if not serving:
        problem = problem or Problem("NoWorker", "no worker is ready yet")
        return condition("Ready", False, problem.reason, problem.message)
    return condition("Ready", True, "Serving", f"{_count(snapshot.routers, 'router')}, {_count(serving, 'worker')}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
