"""What the control step promises, whatever a cluster does: GPUs within the budget at every moment, enough ready workers
while templates change, and in the end what is desired. No cluster: `simulated_cluster` stands in for one.
"""

from __future__ import annotations

import json
import random
from typing import Any

import hypothesis.strategies as st
import pytest
from documents import profile_document
from hadis.api.conditions import with_times
from hadis.api.resources import CascadeProfile, ServiceSpec
from hadis.api.status import ServiceStatus
from hadis.planning.decide import Decision, decide
from hadis.planning.fleet import is_shared
from hadis.planning.memory import Memory
from hadis.planning.profile import Profile
from hadis.planning.snapshot import DemandReading, Problem, Snapshot
from hadis.protocol.labels import tiers_by_pool
from hadis_operator.observe import memory_of
from hadis_operator.status_writer import gpu_counts, status_of
from hadis_operator.views import service_view
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from promises import assert_conditions, assert_held, assert_ready_are_kept
from simulated_cluster import Cluster

LOCAL = Profile(CascadeProfile.read(profile_document()))
SLOTS = 2
LATE_S = 5.0
"""After which a worker that no node takes says that there is no room."""


def remote_heavy() -> Profile:
    """Return the profile with a heavy tier that an endpoint makes."""
    document = profile_document()
    document["spec"]["tiers"][1] |= {"remote": {"url": "http://engine/v1", "slots": SLOTS}, "tunable": False}
    return Profile(CascadeProfile.read(document))


REMOTE = remote_heavy()


class Promises(RuleBasedStateMachine):
    """An operator that steps at any time, is killed at any time, and sees everything late."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster, self.memory = Cluster(), Memory()
        self.placement, self.template, self.profile = "Dedicated", 0, LOCAL
        self.arrivals, self.rps = 0.0, 0.0
        self.metrics = True
        self.gpus_per_worker = 1
        self.status, self.saved = ServiceStatus(), Memory()
        """As it was written last, and what it is to bring back."""

    @initialize(budget=st.integers(1, 6), placement=st.sampled_from(["Dedicated", "Shared"]), remote=st.booleans())
    def begin(self, budget: int, placement: str, remote: bool) -> None:
        self.budget, self.placement, self.profile = budget, placement, REMOTE if remote else LOCAL
        self.most = budget
        """GPUs that there may be: the budget, or those that were left when it was lowered, as they go."""

    # The operator

    def spec(self) -> ServiceSpec:
        document: dict[str, Any] = {
            "profile": "two",
            "objective": {"latency": "4s"},
            "gpus": {"max": self.budget},
            "placement": self.placement,
            "scaleDownAfter": "2s",
            "worker": {"gpusPerWorker": self.gpus_per_worker},
        }
        return ServiceSpec.read(document)

    def desired(self) -> dict[str, tuple[str, ...]]:
        shared = is_shared(self.spec(), self.profile)
        pools = tiers_by_pool(self.profile.tiers, shared=shared, remote=self.profile.slots)
        return {f"{pool}-{self.placement}-{self.template}": resident for pool, resident in pools.items()}

    def snapshot(self) -> Snapshot:
        series = {"router": self.arrivals}
        reading = DemandReading(self.cluster.now_s, series) if self.metrics else Problem("Unreachable", "no answer")
        return Snapshot(
            now_s=self.cluster.now_s,
            spec=self.spec(),
            profile=self.profile,
            reading=reading,
            workers=tuple(self.cluster.seen_pods.values()),
            groups=self.cluster.groups(self.desired(), self.profile.slots, self.gpus_per_worker),
            late_s=LATE_S,
        )

    def act(self, snapshot: Snapshot, decision: Decision, writes: int) -> None:
        """Write the first `writes` of the groups that differ."""
        assert decision.replicas is not None
        for group in snapshot.groups:
            replicas = decision.replicas[group.name]
            members = [worker for worker in snapshot.workers if worker.group == group.name]
            if writes and group.stale and not replicas and not group.replicas and not members:
                self.cluster.delete(group.name)
                writes -= 1
            elif writes and replicas != group.replicas:
                self.cluster.scale(group, replicas)
                writes -= 1

    @rule()
    def step(self) -> None:
        self.memory = self.decide_and_act(writes=100, saves_status=True).memory

    @rule(writes=st.integers(0, 3), saves_status=st.booleans())
    def step_and_die(self, writes: int, saves_status: bool) -> None:
        """The operator is killed between two of its writes; the next one sees the cluster as it is."""
        self.decide_and_act(writes, saves_status)
        document = json.loads(json.dumps(self.status.model_dump(mode="json", by_alias=True), sort_keys=True))
        self.memory = memory_of(service_view({"metadata": {"name": "images"}, "status": document}))
        assert (self.memory.plan, self.memory.workers_by_tier) == (self.saved.plan, self.saved.workers_by_tier)
        self.cluster.relist()

    def decide_and_act(self, writes: int, saves_status: bool) -> Decision:
        """Take a step, of which so many writes come to be, and then, if `told`, that of the status."""
        snapshot = self.snapshot()
        decision = decide(snapshot, self.memory)
        assert_conditions(snapshot, decision)
        assert_held(self.memory, snapshot, decision)
        assert_ready_are_kept(snapshot, decision)
        self.act(snapshot, decision, writes)
        if saves_status:
            conditions = with_times(decision.conditions, self.status.conditions, 1, "now")
            former = self.status.model_copy(update={"conditions": conditions})
            self.status = status_of(former, decision, gpu_counts(snapshot))
            self.saved = Memory(plan=decision.memory.plan, workers_by_tier=decision.workers_by_tier)
        return decision

    # The world

    @rule(rps=st.sampled_from([0.0, 1.0, 4.0, 12.0, 40.0]))
    def demand(self, rps: float) -> None:
        self.rps = rps

    @rule(works=st.booleans())
    def prometheus(self, works: bool) -> None:
        self.metrics = works

    @rule(seconds=st.sampled_from([0.05, 0.3, 1.0, 3.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.arrivals += seconds * self.rps
        self.cluster.advance(seconds)

    @rule(broken=st.booleans())
    def change_template(self, broken: bool) -> None:
        """Another profile or image; its pods may never become ready."""
        self.template += 1
        if broken:
            self.cluster.broken |= set(self.desired())

    @rule(gpus=st.integers(1, 6))
    def change_budget(self, gpus: int) -> None:
        """Somebody writes `gpus.max`."""
        self.budget, self.most = gpus, max(self.most, gpus)

    @rule(gpus=st.integers(1, 3))
    def change_size(self, gpus: int) -> None:
        """Workers take another number of GPUs each."""
        self.template += gpus != self.gpus_per_worker
        self.gpus_per_worker = gpus

    @rule(quota=st.booleans(), full=st.booleans())
    def refuse(self, quota: bool, full: bool) -> None:
        """A quota lets no pod be made, and nodes have no GPU left; or they do again."""
        self.cluster.quota, self.cluster.nodes_gpus = quota, self.cluster.placed_gpus if full else None

    @rule()
    def change_engine(self) -> None:
        """The heavy tier is given to an endpoint, or taken back from it."""
        self.profile = LOCAL if self.profile is REMOTE else REMOTE
        self.template += 1

    @rule()
    def change_placement(self) -> None:
        self.placement = "Shared" if self.placement == "Dedicated" else "Dedicated"

    @rule(seed=st.integers(0, 2**32), count=st.integers(1, 60), steps=st.booleans())
    def much_happens(self, seed: int, count: int, steps: bool) -> None:
        """Controllers, watches, kubelets and, mostly, the operator work in some order; a pod may be deleted by hand."""
        rng = random.Random(seed)
        for _ in range(count):
            happening = rng.choice([self._controller, self._controller, self._controller, self._pod, self._pod])
            happening(rng)
            if steps and rng.random() < 0.3:
                self.step()
            if rng.random() < 0.2:
                self.wait(0.2)
            self.no_more_gpus_than_the_budget()

    def _controller(self, rng: random.Random) -> None:
        cluster = self.cluster
        if cluster.deployments:
            work = rng.choice([cluster.sync_deployment, cluster.sync_set, cluster.sync_set, cluster.deliver_deployment])
            work(rng.choice(sorted(cluster.deployments)))

    def _pod(self, rng: random.Random) -> None:
        cluster = self.cluster
        if cluster.pods:
            name = rng.choice(sorted(cluster.pods))
            if rng.random() < 0.03:
                cluster.delete_by_hand(name)
            elif rng.random() < 0.25:
                cluster.deliver_pods([name])
            else:
                rng.choice([cluster.start, cluster.start, cluster.end])(name)

    @rule()
    def all_calm(self) -> None:
        self.cluster.settle()

    # The promises

    @invariant()
    def no_more_gpus_than_the_budget(self) -> None:
        """While there are more, for the budget was lowered, they only become fewer."""
        for remote, most in ((False, self.most), (True, SLOTS)):
            pods = [pod for pod in self.cluster.pods.values() if pod.remote == remote and not pod.deleted_by_hand]
            assert sum(pod.gpus for pod in pods) <= most
        self.most = max(self.budget, min(self.most, self.cluster.committed_gpus()))

    def teardown(self) -> None:
        """In the end, when the world is calm, there is what is desired and nothing else."""
        if not hasattr(self, "budget"):
            return
        self.cluster.broken.clear()
        self.cluster.quota, self.cluster.nodes_gpus = False, None
        self.metrics = True
        self.come_to_rest()

    def come_to_rest(self) -> None:
        """Step until nothing moves: there is what is desired, and nothing else."""
        for _ in range(60):
            self.wait(2.0)
            self.step()
            self.no_more_gpus_than_the_budget()
            self.cluster.settle()
            self.no_more_gpus_than_the_budget()
        shared, by_tier = self.placement == "Shared", self.memory.workers_by_tier or {}
        slots = self.profile.slots
        ready: dict[str, int] = {}
        for pod in self.cluster.pods.values():
            assert pod.ready
            assert not pod.terminating
            assert pod.revision in self.desired()
            assert pod.remote == (pod.tiers[0] in slots)
            key = "all" if shared and not pod.remote else pod.tiers[0]
            ready[key] = ready.get(key, 0) + 1
        desired = {"all": sum(by_tier.values())} if shared else dict(by_tier)
        assert ready == {key: count for key, count in desired.items() if count} | slots


TestPromises = Promises.TestCase
TestPromises.settings = settings(max_examples=110, stateful_step_count=40)


def test_a_worker_that_is_gone_and_still_seen_is_not_asked_for_again() -> None:
    """Two seen of a group that may have one: the other was deleted by hand, and news of it are late."""
    machine = Promises()
    machine.begin(budget=2, placement="Dedicated", remote=False)
    for rps in (0.0, 4.0):
        machine.demand(rps=rps)
        machine.all_calm()
        machine.step()
    machine.demand(rps=40.0)
    machine.wait(seconds=0.3)
    machine.much_happens(count=51, seed=273042, steps=True)
    machine.much_happens(count=17, seed=0, steps=False)
    machine.teardown()


def test_a_count_that_is_raised_again_makes_no_worker_beside_those_that_end() -> None:
    """The lower count was followed, and the news of it are late."""
    machine = Promises()
    machine.begin(budget=1, placement="Dedicated", remote=False)
    machine.much_happens(count=11, seed=0, steps=True)
    machine.change_engine()
    machine.much_happens(count=3, seed=1_949_917_579, steps=True)
    machine.all_calm()
    machine.change_placement()
    machine.much_happens(count=8, seed=0, steps=True)
    machine.change_placement()
    machine.much_happens(count=37, seed=700, steps=True)
    machine.teardown()


@pytest.mark.parametrize("gpus_per_worker", [1, 2])
@pytest.mark.parametrize("placement", ["Dedicated", "Shared"])
def test_where_nodes_have_no_room_workers_are_replaced_all_the_same(placement: str, gpus_per_worker: int) -> None:
    """The budget has room for old and new ones together, and nodes have not: old ones go first, a few at a time."""
    machine = Promises()
    machine.begin(budget=6, placement=placement, remote=False)
    machine.change_size(gpus=gpus_per_worker)
    machine.demand(rps=1.0)
    machine.come_to_rest()
    assert 0 < machine.cluster.placed_gpus < 6
    machine.refuse(quota=False, full=True)
    machine.change_template(broken=False)
    machine.come_to_rest()
