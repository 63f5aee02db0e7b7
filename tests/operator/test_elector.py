"""Who leads, on a virtual clock: one at a time, whatever happens to the API server, the Lease and the others."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Iterable

import pytest
from fake_leases import LEASE_S, Client, Leases
from hadis.kube.client import ApiError
from hadis_operator.leader.elector import Elector
from hadis_operator.leader.fence import Fence
from hadis_operator.leader.lease import Candidate
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from virtual import virtual

RETRY_S, DEADLINE_S = 2.0, 10.0
OWN = "/apis/coordination.k8s.io/v1/namespaces/hadis/leases/hadis"


class Process:
    """One operator as far as it is elected."""

    def __init__(
        self,
        leases: Leases,
        holder: str,
        *,
        release: str = "hadis",
        watched: Iterable[str] = (),
        delays_s: Iterable[float] = (),
        fence: Fence | None = None,
        failures: int = 0,
    ) -> None:
        self.kube, self.fence, self.led = Client(leases, delays_s), fence or Fence(), 0
        self.watched, self._failures = frozenset(watched), failures
        candidate = Candidate("hadis", release, holder, self.watched, LEASE_S)
        self.elector = Elector(self.kube, self.fence, candidate)
        self.task = asyncio.create_task(self.elector.run(self._lead))
        self.running = False

    async def _lead(self) -> None:
        self.led += 1
        if self.led <= self._failures:
            raise RuntimeError("a fault of ours")
        self.running = True
        try:
            await asyncio.Event().wait()
        finally:
            self.running = False

    @property
    def leads(self) -> bool:
        return self.fence.remaining_s > 0

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def kill(self) -> None:
        """End as SIGKILL does: nothing is said to anybody."""
        self.kube.away = True
        self.task.cancel()


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def until_leads(process: Process, within_s: float = 60.0) -> float:
    """Return how long a process takes to lead."""
    began_s = now_s()
    while not process.leads:
        assert now_s() - began_s < within_s, "it does not lead"
        await asyncio.sleep(0.1)
    return now_s() - began_s


@virtual
async def test_where_no_lease_was_seen_the_first_waits_as_if_another_held_it() -> None:
    waited_s = await until_leads(Process(Leases(), "a"))
    assert LEASE_S <= waited_s < LEASE_S + 2 * RETRY_S


@virtual
async def test_one_that_was_given_back_is_taken_at_once_and_the_next_in_line_takes_over_in_seconds() -> None:
    leases = Leases()
    leases.given_back("hadis")
    first = Process(leases, "a")
    assert await until_leads(first) < 0.2
    second = Process(leases, "b")
    await asyncio.sleep(100)
    assert (first.leads, second.leads, second.led) == (True, False, 0)
    assert second.elector.role == {"role": "standby", "holder": "a"}
    await first.stop()
    assert not first.running
    assert await until_leads(second) < 1.5 * RETRY_S
    assert leases.objects[OWN]["spec"]["leaseTransitions"] == 2


@virtual
async def test_after_a_death_the_next_waits_for_the_whole_lease() -> None:
    leases = Leases()
    leases.given_back("hadis")
    first, second = Process(leases, "a"), Process(leases, "b")
    await asyncio.sleep(30)
    leader, standby = (first, second) if first.leads else (second, first)
    leader.kill()
    waited_s = await until_leads(standby)
    assert LEASE_S - RETRY_S * 1.2 <= waited_s <= LEASE_S + RETRY_S * 1.2


@virtual
async def test_a_container_that_starts_again_in_its_pod_goes_on_at_once() -> None:
    leases = Leases()
    leases.given_back("hadis")
    first = Process(leases, "pod-0")
    await asyncio.sleep(5)
    first.kill()
    assert await until_leads(Process(leases, "pod-0")) < 0.2


@virtual
async def test_the_lease_goes_with_the_deployment_of_its_own_release() -> None:
    leases = Leases()
    leases.given_back("one", "two", watched="pictures")  # as releases left them that owned none
    owners = {"one": "uid-1", "two": "uid-2"}
    for name, uid in owners.items():
        path = f"/apis/apps/v1/namespaces/hadis/deployments/{name}"
        leases.deployments[path] = {"metadata": {"name": name, "uid": uid}, "spec": {}}
    for name, uid in owners.items():  # the second waits until the first gives the namespace back
        process = Process(leases, "a", release=name, watched=["pictures"])
        await until_leads(process)
        await asyncio.sleep(30)
        await process.stop()
        (owner,) = leases.objects[OWN.replace("leases/hadis", f"leases/{name}")]["metadata"]["ownerReferences"]
        assert owner == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": uid}


@virtual
async def test_where_the_deployment_may_not_be_read_the_lease_has_no_owner() -> None:
    leases = Leases()
    leases.given_back("hadis")
    await until_leads(Process(leases, "a"))
    assert "ownerReferences" not in leases.objects[OWN]["metadata"]


@virtual
async def test_times_of_other_clocks_count_for_nothing() -> None:
    leases = Leases()
    leases.given_back("hadis")
    spec = {"holderIdentity": "other", "leaseDurationSeconds": LEASE_S, "renewTime": "1970-01-01T00:00:00.000000Z"}
    leases.write(OWN, leases.objects[OWN]["metadata"], spec)
    assert await until_leads(Process(leases, "a")) >= LEASE_S


@virtual
async def test_a_leader_that_cannot_renew_writes_nothing_before_its_lease_ends() -> None:
    leases = Leases()
    leases.given_back("hadis")
    leader = Process(leases, "a")
    await until_leads(leader)
    await asyncio.sleep(20)
    leader.kube.away = True
    remaining_s = leader.fence.remaining_s
    assert DEADLINE_S - RETRY_S <= remaining_s <= DEADLINE_S
    await asyncio.sleep(remaining_s)
    assert not leader.leads
    with pytest.raises(ApiError, match="leads no more"), leader.fence.writing():
        pass
    await asyncio.sleep(1)
    assert not leader.running
    leader.kube.away = False
    assert await until_leads(leader) < 3 * RETRY_S  # nobody else came
    assert leader.led == 2


@virtual
async def test_the_deadline_counts_from_when_a_renewal_was_sent() -> None:
    leases = Leases()
    leases.given_back("hadis")
    # List, update and its answer, list; then a renewal whose answer takes four seconds.
    leader = Process(leases, "a", delays_s=[0, 0, 0, 0, 0, 4.0])
    await until_leads(leader)
    await asyncio.sleep(RETRY_S + 4.0)
    assert leader.fence.remaining_s == pytest.approx(DEADLINE_S - 4.0, abs=0.2)


@virtual
async def test_a_lease_deleted_by_hand_changes_nobody() -> None:
    leases = Leases()
    leases.given_back("hadis")
    leader = Process(leases, "a")
    await until_leads(leader)
    standby = Process(leases, "b")
    for _ in range(5):
        await asyncio.sleep(7)
        del leases.objects[OWN]
        await asyncio.sleep(7)
        assert (leader.leads, standby.leads) == (True, False)
    assert leader.led == 1


@virtual
async def test_a_change_by_hand_does_not_stop_the_leader_and_is_kept() -> None:
    leases = Leases()
    leases.given_back("hadis")
    leader = Process(leases, "a")
    await until_leads(leader)
    there = leases.objects[OWN]
    there["metadata"]["annotations"]["team"] = "ours"
    leases.write(OWN, there["metadata"], there["spec"])
    await asyncio.sleep(30)
    assert leader.leads and leader.led == 1
    assert leases.objects[OWN]["metadata"]["annotations"] == {"team": "ours", "hadis.dev/namespaces": "*"}


@virtual
async def test_a_lease_that_another_took_is_believed_at_once() -> None:
    leases = Leases()
    leases.given_back("hadis")
    leader = Process(leases, "a")
    await until_leads(leader)
    there = leases.objects[OWN]
    leases.write(OWN, there["metadata"], {**there["spec"], "holderIdentity": "b"})
    await asyncio.sleep(RETRY_S * 1.2)
    assert not leader.leads
    assert leases.objects[OWN]["spec"]["holderIdentity"] == "b"


@virtual
async def test_nothing_is_given_back_while_a_write_is_on_its_way() -> None:
    leases = Leases()
    leases.given_back("hadis")
    leader = Process(leases, "a")
    await until_leads(leader)
    with leader.fence.writing():
        await leader.stop()
        assert leases.objects[OWN]["spec"]["holderIdentity"] == "a"


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        ([], ["a"], True),
        (["a"], [], True),
        ([], [], True),
        (["a", "b"], ["b", "c"], True),
        (["a"], ["b"], False),
    ],
)
def test_of_two_releases_that_share_a_namespace_one_waits_and_says_for_whom(
    one: list[str], other: list[str], share: bool
) -> None:
    @virtual
    async def story() -> None:
        leases = Leases()
        leases.given_back("one", watched=",".join(one) or "*")
        leases.given_back("other", watched=",".join(other) or "*")
        first = Process(leases, "pod-one", release="one", watched=one)
        await until_leads(first)
        second = Process(leases, "pod-other", release="other", watched=other)
        await asyncio.sleep(60)
        assert (first.leads, second.leads) == (True, not share)
        places = ", ".join(one) or "every namespace"
        words = f"this release waits: release hadis/one keeps {places} (pod-one), and two cannot share one"
        assert leases.events == ([words] if share else [])
        await first.stop()
        await until_leads(second, 3 * RETRY_S)

    story()


@virtual
async def test_a_rival_whose_lease_was_deleted_is_waited_for() -> None:
    leases = Leases()
    leases.given_back("hadis", "other")
    rival = Process(leases, "b", release="other")
    await until_leads(rival)
    process = Process(leases, "a")
    await asyncio.sleep(5)
    rival.kube.away = True  # and it does not know yet
    del leases.objects[OWN.replace("/hadis", "/other").replace("namespaces/other", "namespaces/hadis")]
    waited_s = await until_leads(process)
    assert waited_s > DEADLINE_S and not rival.leads


@virtual
async def test_what_fails_while_it_leads_is_begun_again_by_whoever_comes_first() -> None:
    leases = Leases()
    leases.given_back("hadis")
    leader = Process(leases, "a", failures=3)
    await until_leads(leader)
    await asyncio.sleep(5 * RETRY_S)
    assert leader.leads and leader.led == 4


class WatchedFence(Fence):
    """A fence that is told whenever it opens."""

    def __init__(self, opened: Callable[[], None]) -> None:
        super().__init__()
        self._opened = opened

    def open(self, until_s: float) -> None:
        super().open(until_s)
        self._opened()


@settings(max_examples=40, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    seed=st.integers(0, 10**6),
    scopes=st.lists(st.sampled_from(["", "a", "a,b", "b"]), min_size=2, max_size=4),
    steps=st.lists(
        st.tuples(st.floats(0.1, 12.0), st.sampled_from(["away", "back", "delete", "stop", "kill", "start"])),
        max_size=14,
    ),
)
def test_never_do_two_write_at_the_same_time(seed: int, scopes: list[str], steps: list[tuple[float, str]]) -> None:
    rng, leases, processes = random.Random(seed), Leases(), list[Process]()

    def alone() -> None:
        for one, other in itertools.combinations([process for process in processes if process.leads], 2):
            assert one.watched and other.watched and not one.watched & other.watched, f"two write at {now_s()}"

    def start() -> None:
        scope = rng.choice(scopes)
        delays_s = [rng.choice([0.0, 0.01, 0.5, 3.0, 20.0]) for _ in range(200)]
        watched = scope.split(",") if scope else ()
        release, holder = f"release-{scope.replace(',', '-')}", f"p{len(processes)}"
        fence = WatchedFence(alone)
        processes.append(Process(leases, holder, release=release, watched=watched, delays_s=delays_s, fence=fence))

    @virtual
    async def story() -> None:
        for _ in scopes:
            start()
        for pause_s, what in (*steps, (60.0, "back")):
            await asyncio.sleep(pause_s)
            process = rng.choice(processes)
            if what in ("away", "back"):
                process.kube.away = what == "away"
            elif what == "delete" and leases.objects:
                del leases.objects[rng.choice(sorted(leases.objects))]
            elif what == "stop":
                await process.stop()
            elif what == "kill":
                process.kill()
            elif what == "start" and len(processes) < 8:
                start()
            assert not [each for each in processes if each.task.done() and not each.task.cancelled()]

    story()
