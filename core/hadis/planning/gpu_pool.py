"""What each service of a pool may take of its GPUs now. Pure.

Two numbers for each service. Its share is what is fair: the least that its spec asks for, then what its plan wants, by
weight where they compete for it; what one does not want serves the others. Its grant is what is safe on the way there:
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
from hadis.planning.snapshot import Memory, PoolGrant, Problem, Snapshot
from hadis.planning.tuning import Tuning


@dataclass(frozen=True)
class Member:
    """One service of a pool."""

    weight: float
    minimum: int
    """GPUs that it has even while its plan wants fewer."""
    wanted: int
    """GPUs that its plan asks for, as if it were alone."""
    taken: int
    """GPUs that it holds, or that controllers may still take for it."""
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
    gpus = snapshot.spec.gpus
    taken = gpus_taken(snapshot.groups, snapshot.workers, memory.lowered)
    known = pool.members.get(name)
    wanted = known.wanted if known else taken
    if isinstance(pool.gpus, Problem):
        granted = PoolGrant(taken, pool.gpus)
    else:
        now = dict(pool.members) | {name: Member(gpus.weight, gpus.min, wanted, taken)}
        granted = PoolGrant(grant(pool.gpus, now, name, elsewhere=pool.elsewhere))
    snapshot = replace(snapshot, pool=granted)
    decision = decide(snapshot, memory, tuning)
    after = gpus_taken(snapshot.groups, snapshot.workers, decision.memory.lowered, decision.replicas)
    wanted = taken if decision.gpus_wanted is None else decision.gpus_wanted
    settled = may_add(snapshot, decision.memory)
    return snapshot, decision, Member(gpus.weight, gpus.min, wanted, after, settled)


def fair_shares(gpus: int, members: Mapping[str, Member]) -> dict[str, int]:
    """Return each member's part of a pool, in whole GPUs: weighted max-min fairness, minima first.

    One by one they go to the member that has the fewest for its weight and wants more; ties to the first by name.
    """
    shares = dict.fromkeys(members, 0)
    for caps in (
        {name: member.minimum for name, member in members.items()},
        {name: max(member.minimum, member.wanted) for name, member in members.items()},
    ):
        hungry = [((shares[name] + 1) / members[name].weight, name) for name in members if shares[name] < caps[name]]
        heapq.heapify(hungry)
        left = gpus - sum(shares.values())
        while hungry and left > 0:
            _, name = heapq.heappop(hungry)
            shares[name] += 1
            left -= 1
            if shares[name] < caps[name]:
                heapq.heappush(hungry, ((shares[name] + 1) / members[name].weight, name))
    return shares


def grant(gpus: int, members: Mapping[str, Member], name: str, *, elsewhere: int = 0) -> int:
    """Return the GPUs that a member may be asked for now; `elsewhere` are those that others than members hold."""
    share, own = fair_shares(gpus, members)[name], members[name].taken
    free = gpus - elsewhere - sum(member.taken for other, member in members.items() if other != name)
    add = all(member.settled for other, member in members.items() if other != name)
    return max(min(share, own), min(share, free) if add else 0)
