"""What a service's conditions say, from what was observed and planned. Pure; times are filled in by who writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hadis.api.conditions import Condition, condition
from hadis.planning.fleet import not_as_desired, worker_ratio
from hadis.planning.idle import idle_condition, idle_message
from hadis.planning.memory import Rest
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.planning.shortfall import shortfall
from hadis.planning.snapshot import WAITING_FOR_QUOTA, DemandReading, Problem, Serving, Snapshot, Worker, WorkerGroup
from hadis.planning.speeds import SLOW_WORKER, Ratios, out_of_date

_AWAY_S = 30.0
"""Seconds after its start in which a worker that loads nothing should have had an answer of its endpoint."""
CONTESTED = "Contested"
"""Reason of a problem of children that are there all the same."""
_CAPACITY = ("Unschedulable", "QuotaExceeded", WAITING_FOR_QUOTA)
"""Reasons of problems that more GPUs would solve."""


@dataclass(frozen=True)
class DesiredState:
    """What a step planned, as far as the conditions tell it."""

    active: Plan | None
    target: Plan | None
    workers: Mapping[str, int]
    """Workers to have, by group."""
    informed: bool
    """Whether the demand that it is for was ever known."""
    ratios: Ratios = field(default_factory=dict)
    """Times of batches that plans count on, divided by the profile's."""
    rest: Rest = field(default_factory=Rest)
    reading: DemandReading | Problem | None = None
    """The last one that is known; without, the snapshot's. A missed reading ends nothing that was found before."""


def profile_condition(profile: Profile | Problem) -> Condition:
    """Return whether the profile can be used."""
    if isinstance(profile, Problem):
        return condition("ProfileValid", False, profile.reason, profile.message)
    tiers = ", ".join(profile.tiers)
    text = f"{len(profile.configurations)} configurations of {tiers}; content {profile.hash}"
    if why := profile.resource.spec.difficulty.why_features_alone:
        text += f"; {why}"
    return condition("ProfileValid", True, "Valid", text)


def unplanned_conditions(serving: Serving, why: Problem, *, wrong: bool = True) -> list[Condition]:
    """Return the conditions of a service of which nothing is planned, and why; `wrong` is whether that is a fault.

    Who answers requests is known all the same.
    """
    unknown = ("MetricsAvailable", "CapacitySufficient", "PlanApplied", "ProfileFresh")
    fault = why if wrong else None
    return [
        *(condition(kind, None, why.reason, why.message) for kind in unknown),
        _degraded(None, _grave(serving, _workers_problem(serving)) or fault or serving.child_problem),
        _ready(serving, fault),
    ]


def service_conditions(snapshot: Snapshot, planned: DesiredState) -> list[Condition]:
    """Return the conditions of a service that was planned."""
    seen, pool = snapshot.serving, snapshot.pool.problem if snapshot.pool else None
    workers = pool or _workers_problem(seen)
    idle = idle_condition(snapshot.spec, planned.rest)
    known = snapshot if planned.reading is None else replace(snapshot, reading=planned.reading)
    return [
        _metrics(snapshot, planned),
        _capacity(snapshot, planned),
        _applied(snapshot, planned, _missing_child(seen) or workers),
        _degraded(planned.active, _grave(seen, workers) or seen.child_problem or slow_worker(known)),
        _ready(replace(seen, workers=_without_useless(seen.workers)), pool, idle),
        *([idle] if idle else ()),
        _profile_fresh(known, planned.ratios),
    ]


def _grave(seen: Serving, workers: Problem | None) -> Problem | None:
    """Return what keeps something of the service from being there: children, then routers, then `workers`."""
    return _missing_child(seen) or seen.router_problem or (None if _waits_for_quota(workers) else workers)


def _missing_child(seen: Serving) -> Problem | None:
    return seen.child_problem if seen.child_problem and seen.child_problem.reason != CONTESTED else None


def _workers_problem(seen: Serving) -> Problem | None:
    return group_problem(seen.groups) or worker_problem(seen.workers, seen.now_s, seen.late_s)


def worker_problem(workers: Iterable[Worker], now_s: float, late_s: float) -> Problem | None:
    """Return what keeps the first worker, by name, from becoming ready by itself; None where all is well.

    Those that wait for quota come last. One that has run for `late_s` without being ready is late: its models should
    have been loaded by then.
    """
    problems = [problem for worker in _in_order(workers) if (problem := _problem_of(worker, now_s, late_s))]
    return min(problems, key=_waits_for_quota, default=None)


def _in_order(workers: Iterable[Worker]) -> list[Worker]:
    return sorted(workers, key=lambda worker: worker.name)


def _problem_of(worker: Worker, now_s: float, late_s: float) -> Problem | None:
    if worker.ready or worker.terminating:  # whatever one that goes has been waiting for, nobody waits for it
        return None
    if worker.unschedulable or worker.failure:
        return worker.unschedulable or worker.failure
    if worker.started_s is None:
        return None
    if worker.remote and now_s - worker.started_s > min(_AWAY_S, late_s):
        tiers = ", ".join(worker.tiers)
        text = f"worker {worker.name} has no good answer from the endpoint of {tiers}; its log says why"
        return Problem("EndpointAway", text)
    if now_s - worker.started_s > late_s:
        text = f"worker {worker.name} has run for {late_s:.0f} s and more without being ready; its log says why"
        return Problem("NotReady", text)
    return None


def _waits_for_quota(problem: Problem | None) -> bool:
    return problem is not None and problem.reason == WAITING_FOR_QUOTA


def _without_useless(workers: Iterable[Worker]) -> tuple[Worker, ...]:
    """Return the workers without those that are ready for no tier of the profile: nothing is sent to them."""
    return tuple(worker for worker in workers if worker.tiers or not worker.ready)


def slow_worker(snapshot: Snapshot) -> Problem | None:
    """Return which workers are much slower than their peers, by name; None where none is."""
    ratios = {w.name: worker_ratio(snapshot, w) for w in snapshot.workers if w.ready}
    slow = [f"worker {name} takes {ratios[name]:.1f}" for name in sorted(ratios) if ratios[name] >= SLOW_WORKER]
    if not slow:
        return None
    its, gpus, nodes = ("its", "GPU", "node") if len(slow) == 1 else ("their", "GPUs", "nodes")
    text = f"{', '.join(slow)} times as long as {its} peers; look at {its} {gpus} and {its} {nodes}"
    return Problem("SlowWorker", text)


def group_problem(groups: Iterable[WorkerGroup]) -> Problem | None:
    """Return why the first group that may not create its workers may not."""
    return next((group.refused for group in groups if group.refused), None)


def nodes_have_room(workers: Sequence[Worker], groups: Iterable[WorkerGroup], now_s: float, late_s: float) -> bool:
    """Return False where a quota refuses workers, or one waited `late_s` for a node: no autoscaler brings one."""
    waiting_since = [w.unschedulable_since_s for w in workers if w.unschedulable]
    return group_problem(groups) is None and all(now_s - at <= late_s for at in waiting_since if at is not None)


def _metrics(snapshot: Snapshot, planned: DesiredState) -> Condition:
    reading = snapshot.reading
    if isinstance(reading, DemandReading):
        return condition("MetricsAvailable", True, "Read", reading.source)
    held = planned.informed or planned.target is None
    then = "the last plan is held" if held else "until the demand is known, plans are for none"
    return condition("MetricsAvailable", False, reading.reason, f"{reading.message}; {then}")


def _capacity(snapshot: Snapshot, planned: DesiredState) -> Condition:
    target = planned.target
    if problem := shortfall(snapshot, target) or _lacking(snapshot.serving):
        return condition("CapacitySufficient", False, problem.reason, problem.message)
    # What suffices for the last demand, or for none, says nothing of one that is not known.
    if target is None or not planned.informed or isinstance(snapshot.reading, Problem):
        return condition("CapacitySufficient", None, "DemandUnknown", "the demand is not known")
    return condition("CapacitySufficient", True, "Sufficient", target.reason)


def _lacking(seen: Serving) -> Problem | None:
    """Return the first problem that more GPUs would solve, whatever else is wrong with other workers."""
    problems = [group.refused for group in seen.groups]
    problems += [_problem_of(worker, seen.now_s, seen.late_s) for worker in _in_order(seen.workers)]
    lacking = [problem for problem in problems if problem and problem.reason in _CAPACITY]
    return min(lacking, key=_waits_for_quota, default=None)


def _applied(snapshot: Snapshot, planned: DesiredState, problem: Problem | None) -> Condition:
    total = sum(planned.workers.values())
    if snapshot.spec.mode == "Advisory":
        return condition("PlanApplied", False, "Advisory", f"mode is Advisory: {total} workers would be asked for")
    differences = "; ".join(not_as_desired(snapshot, planned.workers))
    if not differences:
        return condition("PlanApplied", True, "Applied", _count(total, "ready worker"))
    if problem:
        return condition("PlanApplied", False, problem.reason, problem.message)
    return condition("PlanApplied", False, "Scaling", differences)


def _degraded(active: Plan | None, problem: Problem | None) -> Condition:
    if problem is None and active is not None and not active.feasible:
        problem = Problem("PlanInfeasible", active.reason)
    if problem:
        return condition("Degraded", True, problem.reason, problem.message)
    return condition("Degraded", False, "AsPlanned", "nothing is known to be wrong")


def _profile_fresh(snapshot: Snapshot, ratios: Ratios) -> Condition:
    stale, reading = out_of_date(ratios), snapshot.reading
    # Ratios near 1 are not planned with, so that none means either.
    timed = {*ratios, *(reading.ratios if isinstance(reading, DemandReading) else ())}
    if not timed:
        return condition("ProfileFresh", None, "NotTimed", "no router tells how long batches take yet")
    if not stale:
        text = f"batches of {', '.join(sorted(timed))} take about as long as the profile says"
        return condition("ProfileFresh", True, "AsMeasured", text)
    times = ", ".join(f"{tier} {ratio:.2g}" for tier, ratio in stale.items())
    text = f"batches take this many times as long as the profile says: {times}; plans allow for it; measure it again"
    return condition("ProfileFresh", False, "Stale", text)


def _ready(seen: Serving, fault: Problem | None = None, idle: Condition | None = None) -> Condition:
    workers = sum(worker.ready for worker in seen.workers)
    if seen.routers and workers:
        return condition("Ready", True, "Serving", f"{_count(seen.routers, 'router')}, {_count(workers, 'worker')}")
    if not seen.routers:
        problem = seen.router_problem or Problem("NoRouter", "no router is ready yet")
    else:
        problem = _workers_problem(seen) or Problem("NoWorker", "no worker is ready yet")
    problem = fault or _missing_child(seen) or problem
    if problem.reason == "NoWorker" and idle is not None and (text := idle_message([idle])):
        return condition("Ready", True, "Idle" if idle.status == "True" else idle.reason, text)
    return condition("Ready", False, problem.reason, problem.message)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
