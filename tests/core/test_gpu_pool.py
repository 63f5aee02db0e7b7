"""One budget of GPUs for several services: what is fair, and that together they never hold more, whatever happens."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import hypothesis.strategies as st
import pytest
from documents import profile_document
from hadis.api.resources import CascadeProfile, ServiceSpec
from hadis.planning.decide import Decision
from hadis.planning.gpu_budget import gpus_taken
from hadis.planning.gpu_pool import Member, Pool, decide_in_pool, fair_shares, grants
from hadis.planning.memory import Memory
from hadis.planning.profile import Profile
from hadis.planning.snapshot import DemandReading, Problem, Snapshot
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from simulated_cluster import Cluster

PROFILE = Profile(CascadeProfile.read(profile_document()))


def member(desired: int, *, weight: float = 1.0, minimum: int = 0, taken: int = 0, settled: bool = True) -> Member:
    return Member(weight, minimum, desired, taken, settled=settled)


@pytest.mark.parametrize(
    ("gpus", "members", "shares"),
    [
        (8, {"a": member(3), "b": member(4)}, {"a": 3, "b": 4}),
        (8, {"a": member(8), "b": member(8)}, {"a": 4, "b": 4}),
        (8, {"a": member(1), "b": member(9)}, {"a": 1, "b": 7}),
        (8, {"a": member(8, weight=3), "b": member(8)}, {"a": 6, "b": 2}),
        (8, {"a": member(8), "b": member(0, minimum=5)}, {"a": 3, "b": 5}),
        (3, {"a": member(9, minimum=2), "b": member(9, minimum=4)}, {"a": 2, "b": 1}),
        (0, {"a": member(1)}, {"a": 0}),
        (4, {}, {}),
    ],
)
def test_shares_are_by_need_then_by_weight(gpus: int, members: dict[str, Member], shares: dict[str, int]) -> None:
    assert fair_shares(gpus, members) == shares


@given(
    st.integers(0, 40),
    st.dictionaries(
        st.text("abcdef", min_size=1, max_size=2),
        st.builds(Member, st.floats(0.1, 10), st.integers(0, 5), st.integers(0, 20), st.integers(0, 20), st.just(1)),
        max_size=6,
    ),
)
def test_shares_fill_the_pool_and_nobody_gets_what_it_does_not_ask_for(gpus: int, members: dict[str, Member]) -> None:
    shares = fair_shares(gpus, members)
    desired = {name: max(each.desired, each.minimum) for name, each in members.items()}
    assert all(0 <= shares[name] <= desired[name] for name in members)
    assert sum(shares.values()) == min(gpus, sum(desired.values()))


def test_nothing_is_granted_before_another_has_given_it_back() -> None:
    members = {"a": member(8, taken=7), "b": member(8, taken=1)}
    assert grants(Pool(8, members)) == {"a": 4, "b": 1}
    members["a"] = replace(members["a"], taken=5)
    assert grants(Pool(8, members))["b"] == 3
    assert grants(Pool(8, members, elsewhere=1))["b"] == 2
    members["a"] = replace(members["a"], settled=False)
    assert grants(Pool(8, members)) == {"a": 4, "b": 1}
    assert grants(Pool(Problem("PoolNotFound", "none"), members)) == {}


def test_a_smaller_pool_is_reached_by_draining_to_the_shares() -> None:
    members = {"a": member(4, taken=4), "b": member(4, taken=4)}
    assert grants(Pool(4, members)) == {"a": 2, "b": 2}


def test_workers_that_span_gpus_have_whole_shares() -> None:
    eight = {name: replace(member(8, taken=taken), step=8) for name, taken in (("a", 8), ("b", 8), ("c", 0))}
    assert fair_shares(16, eight) == {"a": 8, "b": 8, "c": 0}
    assert grants(Pool(16, eight)) == {"a": 8, "b": 8, "c": 0}
    mixed = {"a": replace(member(3), step=2), "b": member(9)}
    assert fair_shares(7, mixed) == {"a": 4, "b": 3}


@pytest.mark.parametrize("mode", ["Advisory", "Paused"])
def test_a_service_that_stands_still_needs_no_more_than_it_has(mode: str) -> None:
    machine = PoolPromises()
    machine.begin(4, [1.0, 1.0, 1.0])
    machine.services["a"].mode = mode
    machine.demand("a", 60.0)
    machine.wait(2.0)
    machine.step("a")
    assert (machine.ledger["a"].desired, machine.ledger["a"].taken) == (0, 0)


@dataclass
class Service:
    """One member with a cluster of its own: the pool is all that members share."""

    cluster: Cluster = field(default_factory=Cluster)
    memory: Memory = field(default_factory=Memory)
    status: Memory = field(default_factory=Memory)
    rps: float = 0.0
    arrivals: float = 0.0
    weight: float = 1.0
    mode: str = "Auto"


class PoolPromises(RuleBasedStateMachine):
    """Services of one pool step at any time; the operator is killed at any time, and sees everything late."""

    def __init__(self) -> None:
        super().__init__()
        self.services = {name: Service() for name in "abc"}
        self.ledger: dict[str, Member] = {}
        self.gpus, self.lowered_from = 6, 0

    @initialize(gpus=st.integers(1, 9), weights=st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=3, max_size=3))
    def begin(self, gpus: int, weights: list[float]) -> None:
        self.gpus = gpus
        for service, weight in zip(self.services.values(), weights, strict=True):
            service.weight = weight

    def snapshot(self, service: Service) -> Snapshot:
        document = {
            "profile": "two",
            "objective": {"latency": "4s"},
            "gpus": {"max": 8, "pool": "all", "weight": service.weight},
            "placement": "Dedicated",
            "scaleDownAfter": "2s",
            "mode": service.mode,
        }
        return Snapshot(
            now_s=service.cluster.now_s,
            spec=ServiceSpec.read(document),
            profile=PROFILE,
            reading=DemandReading(service.cluster.now_s, {"router": service.arrivals}),
            workers=tuple(service.cluster.seen_pods.values()),
            groups=service.cluster.groups({tier: (tier,) for tier in PROFILE.tiers}),
        )

    def step(self, name: str) -> tuple[Snapshot, Decision]:
        service = self.services[name]
        snapshot, decision, entry = decide_in_pool(self.snapshot(service), service.memory, self.pool(), name)
        self.ledger[name], service.memory = entry, decision.memory
        service.status = Memory(plan=decision.memory.plan, workers_by_tier=decision.workers_by_tier or None)
        return snapshot, decision

    def pool(self) -> Pool:
        """Return the pool; a member without a step since the start counts as it is seen."""
        members = dict(self.ledger)
        for name, service in self.services.items():
            if name not in members:
                seen = self.snapshot(service)
                held = gpus_taken(seen.groups, seen.workers, {})
                members[name] = member(held, taken=held, settled=False)
        return Pool(self.gpus, members)

    @rule(name=st.sampled_from("abc"))
    def step_and_act(self, name: str) -> None:
        self.act(name, *self.step(name), writes=100)

    def act(self, name: str, snapshot: Snapshot, decision: Decision, writes: int) -> None:
        for group in snapshot.groups if decision.replicas is not None else ():
            if writes and decision.replicas and decision.replicas[group.name] != group.replicas:
                self.services[name].cluster.scale(group, decision.replicas[group.name])
                writes -= 1

    @rule(name=st.sampled_from("abc"), writes=st.integers(0, 2))
    def step_and_die(self, name: str, writes: int) -> None:
        self.act(name, *self.step(name), writes)
        self.ledger.clear()
        for service in self.services.values():
            service.memory = service.status
            service.cluster.relist()

    @rule(name=st.sampled_from("abc"), rps=st.sampled_from([0.0, 2.0, 12.0, 60.0]))
    def demand(self, name: str, rps: float) -> None:
        self.services[name].rps = rps

    @rule(name=st.sampled_from("abc"), mode=st.sampled_from(["Auto", "Auto", "Paused"]))
    def set_mode(self, name: str, mode: str) -> None:
        self.services[name].mode = mode

    @rule(gpus=st.integers(0, 9))
    def resize(self, gpus: int) -> None:
        self.lowered_from = max(self.lowered_from, self.gpus)
        self.gpus = gpus

    @rule(seconds=st.sampled_from([0.05, 0.3, 1.0, 3.0, 10.0]))
    def wait(self, seconds: float) -> None:
        for service in self.services.values():
            service.arrivals += seconds * service.rps
            service.cluster.advance(seconds)

    @rule(seed=st.integers(0, 2**32), count=st.integers(1, 60))
    def much_happens(self, seed: int, count: int) -> None:
        rng = random.Random(seed)
        for _ in range(count):
            cluster = rng.choice(list(self.services.values())).cluster
            if cluster.deployments and rng.random() < 0.6:
                work = rng.choice([cluster.sync_deployment, cluster.sync_set, cluster.deliver_deployment])
                work(rng.choice(sorted(cluster.deployments)))
            elif cluster.pods:
                name = rng.choice(sorted(cluster.pods))
                if rng.random() < 0.3:
                    cluster.deliver_pods([name])
                else:
                    rng.choice([cluster.start, cluster.end])(name)
            if rng.random() < 0.3:
                self.step_and_act(rng.choice("abc"))
            if rng.random() < 0.2:
                self.wait(0.2)
            self.never_more_than_the_pool()

    @rule()
    def all_calm(self) -> None:
        for service in self.services.values():
            service.cluster.settle()

    @invariant()
    def never_more_than_the_pool(self) -> None:
        pods = sum(len(service.cluster.pods) for service in self.services.values())
        assert pods <= max(self.gpus, self.lowered_from)

    def teardown(self) -> None:
        """In the end, when the world is calm, everyone has its share."""
        for service in self.services.values():
            service.mode = "Auto"
        for _ in range(25):
            self.wait(2.0)
            for name in self.services:
                self.step_and_act(name)
                self.never_more_than_the_pool()
            self.all_calm()
        self.lowered_from = 0
        self.never_more_than_the_pool()
        shares = fair_shares(self.gpus, self.ledger)
        for name, service in self.services.items():
            assert len(service.cluster.pods) == shares[name], (name, self.ledger)


TestPoolPromises = PoolPromises.TestCase
TestPoolPromises.settings = settings(max_examples=40, stateful_step_count=25)


def test_without_the_pool_a_service_keeps_what_it_has() -> None:
    machine = PoolPromises()
    machine.begin(4, [1.0, 1.0, 1.0])
    machine.demand("a", 60.0)
    for _ in range(6):
        machine.wait(2.0)
        machine.step_and_act("a")
        machine.step_and_act("b")
        machine.step_and_act("c")
        machine.all_calm()
    held = len(machine.services["a"].cluster.pods)
    assert held == 2  # the others keep a worker each, without any demand
    missing = Pool(Problem("PoolNotFound", "there is no GpuPool all in namespace x"), machine.ledger)
    snapshot = machine.snapshot(machine.services["a"])
    _, decision, entry = decide_in_pool(snapshot, machine.services["a"].memory, missing, "a")
    assert sum((decision.replicas or {}).values()) == held == entry.taken
    degraded = next(c for c in decision.conditions if c.type == "Degraded")
    assert (degraded.status, degraded.reason) == ("True", "PoolNotFound")
