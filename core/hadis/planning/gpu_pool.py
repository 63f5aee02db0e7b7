"""What each service of a pool may take of its GPUs now. Pure.

Two numbers for each service. Its share is what is fair: the least that its spec asks for, then what its plan asks for,
by weight where they compete; what one does not ask for serves the others. Its grant is what is safe on the way there:
nothing is added before others have given it back. So the GPUs that services hold or may still be about to take are at
no moment more than the pool has, as long as each adds no more than its grant and says at once what it may take.

A pool that was lowered is reached by draining: a service is asked for no less than its share.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, replace

from hadis.planning.decide import Decision, decide
from hadis.planning.gpu_budget import gpus_taken, may_add
from hadis.planning.memory import Memory
from hadis.planning.snapshot import PoolGrant, Problem, Snapshot
from hadis.planning.tuning import Tuning


@dataclass(frozen=True)
class Member:
    """One service of a pool."""

    weight: float
    minimum: int
    """GPUs that it has even while its plan asks for fewer."""
    desired: int
    """GPUs that its plan asks for, as if it were alone."""
    taken: int
    """GPUs that it holds, or that controllers may still take for it."""
    step: int = 1
    """GPUs of each of its workers: fewer are of no use to it."""
    settled: bool = True
    """Whether `taken` is surely all: not before it is known which counts from before the start controllers follow."""


@dataclass(frozen=True)
class Pool:
    """A pool as one of its services sees it."""

    gpus: int | Problem
    """GPUs that it has, or why that is not known."""
    members: Mapping[str, Member]
    """All its services as of their last steps."""
    elsewhere: int = 0
    """GPUs that others than members hold."""


def decide_in_pool(
    snapshot: Snapshot, memory: Memory, pool: Pool, name: str, tuning: Tuning = Tuning()
) -> tuple[Snapshot, Decision, Member]:
    """Decide on one member within its grant; return the snapshot with it, the decision, and the member as it is after.

    The member must be in the ledger before another one decides, and before anything of the decision is written.
    """
    gpus, step = snapshot.spec.gpus, snapshot.spec.worker.gpus_per_worker
    taken = gpus_taken(snapshot.groups, snapshot.workers, memory.lowered)
    known = pool.members.get(name)
    desired = known.desired if known else taken
    if isinstance(pool.gpus, Problem):
        granted = PoolGrant(taken, pool.gpus)
    else:
        now = dict(pool.members) | {name: Member(gpus.weight, gpus.min, desired, taken, step)}
        granted = PoolGrant(grants(replace(pool, members=now))[name])
    snapshot = replace(snapshot, pool=granted)
    decision = decide(snapshot, memory, tuning)
    after = gpus_taken(snapshot.groups, snapshot.workers, decision.memory.lowered, decision.replicas)
    settled = may_add(snapshot, decision.memory)
    if decision.replicas is None or decision.gpus_desired is None:  # it stands still, and needs no more than it has
        return snapshot, decision, Member(gpus.weight, min(gpus.min, taken), taken, after, step, settled)
    return snapshot, decision, Member(gpus.weight, gpus.min, decision.gpus_desired, after, step, settled)


def fair_shares(gpus: int, members: Mapping[str, Member]) -> dict[str, int]:
    """Return each member's part of a pool, in whole workers: weighted max-min fairness, minima first.

    One by one they go to the member that has the fewest GPUs for its weight and is to have more; ties to the first by
    name.
    """
    shares = dict.fromkeys(members, 0)
    left = gpus
    for caps in (
        {name: member.minimum for name, member in members.items()},
        {name: max(member.minimum, member.desired) for name, member in members.items()},
    ):
        hungry = [_turn(name, shares[name], member) for name, member in members.items() if shares[name] < caps[name]]
        heapq.heapify(hungry)
        while hungry:
            _, name = heapq.heappop(hungry)
            step = members[name].step
            if step > left:
                continue
            shares[name] += step
            left -= step
            if shares[name] < caps[name]:
                heapq.heappush(hungry, _turn(name, shares[name], members[name]))
    return shares


def _turn(name: str, share: int, member: Member) -> tuple[float, str]:
    return (share + member.step) / member.weight, name


def grants(pool: Pool) -> dict[str, int]:
    """Return the GPUs that each member may be asked for now; none where those of the pool are not known."""
    if isinstance(pool.gpus, Problem):
        return {}
    shares = fair_shares(pool.gpus, pool.members)
    free = pool.gpus - pool.elsewhere - sum(member.taken for member in pool.members.values())
    unsettled = sum(not member.settled for member in pool.members.values())
    granted = {}
    for name, member in pool.members.items():
        add = unsettled == (not member.settled)  # all others are settled
        granted[name] = max(min(shares[name], member.taken), min(shares[name], free + member.taken) if add else 0)
    return granted
