"""Scale to zero: when all workers with GPUs go, when they come back, and which starts first. Pure.

A service with `gpus.idleAfter` is idle when no request has come for so long; the next one wakes it. Both are read off
one level, how long ago the routers had their last request (`Quiet`), so that it does not matter which reading was
missed, or whether the operator was killed in between. What is not known changes nothing.

Two promises: there is no way to zero while a request waits, and none before a worker that was asked for could serve:
time counts from when the first one is ready, or is late.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from hadis.api.conditions import Condition, condition
from hadis.api.fields import parse_duration_s
from hadis.api.resources import ServiceSpec
from hadis.planning.memory import Rest
from hadis.planning.profile import Profile
from hadis.planning.snapshot import Snapshot

NO_WORKER_REASONS = ("NoRequest", "Waking")
"""Reasons of the condition Idle while there is no worker because there was no request."""
PROCESS_S = 10.0
"""Seconds that a worker's pod and process take about before they load a tier, until a start was measured."""


def followed_rest(snapshot: Snapshot, profile: Profile, rest: Rest, *, shared: bool) -> Rest:
    """Return whether the service is idle now, from what was remembered and what routers say."""
    after = snapshot.spec.gpus.idle_after
    if after is None or snapshot.spec.mode != "Auto" or not profile.local_tiers:
        return Rest()
    now_s, serving = snapshot.now_s, any(worker.ready and not worker.remote for worker in snapshot.workers)
    starting_since_s = None
    if not serving and not rest.idle:
        starting_since_s = now_s if rest.starting_since_s is None else rest.starting_since_s
    quiet_since_s = _quiet_since_s(snapshot, replace(rest, starting_since_s=starting_since_s))
    idle = _is_idle(snapshot, rest, quiet_since_s, parse_duration_s(after))
    woken = rest.idle and not idle
    starts_now = starting_since_s is not None and rest.starting_since_s is None
    starts_from_none = woken or (starts_now and all(worker.remote for worker in snapshot.workers))
    return Rest(
        idle=idle,
        waking=not idle and (woken or rest.waking) and not any(worker.ready for worker in snapshot.workers),
        woke_s=now_s if starts_from_none else None if serving or idle else rest.woke_s,
        quiet_since_s=quiet_since_s,
        starting_since_s=now_s if woken else starting_since_s,
        start_s=_start_s(snapshot, profile, rest, serving=serving, shared=shared),
    )


def _start_s(snapshot: Snapshot, profile: Profile, rest: Rest, *, serving: bool, shared: bool) -> float:
    if serving and rest.woke_s is not None:
        return max(0.0, snapshot.now_s - rest.woke_s)
    return estimated_start_s(profile, shared=shared) if rest.start_s is None else rest.start_s


def _quiet_since_s(snapshot: Snapshot, rest: Rest) -> float:
    """Return since when no request is known to have come, or no worker to be on its way."""
    now_s, quiet = snapshot.now_s, snapshot.quiet
    if rest.starting_since_s is not None and now_s - rest.starting_since_s < snapshot.late_s:
        return now_s
    if any(worker.fetching and not worker.failure for worker in snapshot.workers):
        return now_s  # an end of it would be a beginning anew
    since_s = now_s if rest.quiet_since_s is None else rest.quiet_since_s
    return max(since_s, now_s - quiet.for_s) if quiet is not None and math.isfinite(quiet.for_s) else since_s


def _is_idle(snapshot: Snapshot, rest: Rest, quiet_since_s: float, after_s: float) -> bool:
    quiet = snapshot.quiet
    if rest.idle:
        return quiet is None or quiet.for_s >= after_s
    return quiet is not None and quiet.complete and snapshot.now_s - quiet_since_s >= after_s


def estimated_start_s(profile: Profile, *, shared: bool) -> float:
    """Return about the seconds until a first worker is ready, by the profile: a shared one loads every tier."""
    loads_s = [profile.tiers[tier].load_seconds for tier in profile.local_tiers]
    return PROCESS_S + (sum(loads_s) if shared else min(loads_s, default=0.0))


def resting_workers(
    desired: Mapping[str, int], snapshot: Snapshot, profile: Profile, rest: Rest, *, shared: bool
) -> dict[str, int]:
    """Return the workers to have by tier: none while idle, and before the first is ready one of the shortest start."""
    if rest.idle:
        return dict.fromkeys(desired, 0)
    counts = dict(desired)
    if shared or rest.starting_since_s is None or not any(counts.values()):
        return counts
    first = min(profile.local_tiers, key=lambda tier: profile.tiers[tier].load_seconds)
    if not counts.get(first):
        if sum(counts.values()) >= snapshot.spec.worker_bounds.max:
            counts[max(counts, key=counts.__getitem__)] -= 1
        counts[first] = 1
    return counts


def idle_condition(spec: ServiceSpec, rest: Rest) -> Condition | None:
    """Return whether the service is idle, in words; None where it never is."""
    after = spec.gpus.idle_after
    if after is None or rest.start_s is None:
        return None
    start = f"about {rest.start_s:.0f} s"
    if rest.idle:
        text = f"no request for {after}; the next one starts a worker in {start}"
        return condition("Idle", True, "NoRequest", text)
    if rest.waking:
        return condition("Idle", False, "Waking", f"requests wait for the first worker, which starts in {start}")
    return condition("Idle", False, "InUse", f"all workers go when no request has come for {after}")


def idle_message(conditions: Iterable[Condition]) -> str | None:
    """Return what people are told while there is no worker because there was no request; else None."""
    idle = (each for each in conditions if each.type == "Idle" and each.reason in NO_WORKER_REASONS)
    return next((each.message for each in idle), None)
