"""Scale to zero: when workers go, when they come back, and what is never done. Pure, like what it tests."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from documents import profile_document
from hadis.api.resources import CascadeProfile, ServiceSpec
from hadis.planning.decide import Decision, decide
from hadis.planning.idle import PROCESS_S, followed_rest, idle_condition, resting_workers
from hadis.planning.memory import Memory, Rest
from hadis.planning.profile import Profile
from hadis.planning.snapshot import DemandReading, Problem, Quiet, Snapshot, Worker, WorkerGroup
from hypothesis import given, settings
from hypothesis import strategies as st

AFTER_S, LATE_S = 60.0, 600.0
NOT_READ = Problem("Unreachable", "no answer")
READY = Worker("w", "light", ("light",), ready=True)
ENGINE = Worker("e", "heavy", ("heavy",), ready=True, remote=True)


def make_spec(**fields: Any) -> ServiceSpec:
    gpus = {"max": 4, "idleAfter": f"{AFTER_S:g}s"}
    return ServiceSpec.read({"profile": "two", "objective": {"latency": "4s"}, "gpus": gpus, **fields})


SPEC = make_spec()


def make_profile(light_s: float = 20.0, heavy_s: float = 50.0) -> Profile:
    document = profile_document()
    for tier, seconds in zip(document["spec"]["tiers"], (light_s, heavy_s), strict=True):
        tier["loadSeconds"] = seconds
    return Profile(CascadeProfile.read(document))


PROFILE = make_profile()


def seen(now_s: float, quiet: Quiet | None, *workers: Worker, spec: ServiceSpec = SPEC) -> Snapshot:
    return Snapshot(now_s, spec, PROFILE, NOT_READ, workers, (), late_s=LATE_S, quiet=quiet)


def after(rest: Rest, now_s: float, for_s: float | None, *workers: Worker, complete: bool = True) -> Rest:
    """Return what follows from routers whose last request is `for_s` seconds ago (None: they were not read)."""
    quiet = None if for_s is None else Quiet(for_s, complete)
    return followed_rest(seen(now_s, quiet, *workers), PROFILE, rest, shared=False)


SERVING = Rest(quiet_since_s=0.0)


@pytest.mark.parametrize(
    ("rest", "now_s", "for_s", "complete", "idle"),
    [
        (SERVING, AFTER_S, AFTER_S, True, True),
        (SERVING, AFTER_S - 0.1, AFTER_S, True, False),
        (SERVING, AFTER_S, AFTER_S - 0.1, True, False),
        (SERVING, AFTER_S, 0.0, True, False),
        (SERVING, AFTER_S, math.inf, True, True),  # routers that were started anew know of no request
        (SERVING, 10 * AFTER_S, None, True, False),
        (SERVING, 10 * AFTER_S, 10 * AFTER_S, False, False),  # a router that was not read may have requests
        (Rest(), 10 * AFTER_S, math.inf, True, False),  # the operator has just been started
        (Rest(idle=True), AFTER_S, math.inf, True, True),
        (Rest(idle=True), AFTER_S, None, True, True),
        (Rest(idle=True), AFTER_S, AFTER_S, True, True),
        (Rest(idle=True), AFTER_S, AFTER_S - 0.1, True, False),
        (Rest(idle=True), AFTER_S, 0.0, False, False),  # one router that has a request is enough
    ],
)
def test_a_service_is_idle_by_how_long_ago_its_last_request_was(
    rest: Rest, now_s: float, for_s: float | None, complete: bool, idle: bool
) -> None:
    workers = () if rest.idle else (READY,)
    assert after(rest, now_s, for_s, *workers, complete=complete).idle is idle


def test_a_worker_is_waited_for_before_time_counts_and_its_start_is_measured() -> None:
    rest = after(Rest(idle=True), 0.0, 0.0)
    assert (rest.waking, rest.woke_s) == (True, 0.0)
    for now_s in (30.0, 100.0, 130.0):  # the client has given up; the worker still loads
        rest = after(rest, now_s, now_s)
        assert rest.waking
    rest = after(rest, 140.0, 140.0, READY)
    assert (rest.idle, rest.waking, rest.start_s) == (False, False, 140.0)
    assert not after(rest, 130.0 + AFTER_S - 0.1, 189.9, READY).idle
    rest = after(rest, 130.0 + AFTER_S, 190.0, READY)
    assert (rest.idle, rest.start_s) == (True, 140.0)


def test_a_worker_that_does_not_come_is_not_waited_for_for_ever() -> None:
    rest = after(Rest(idle=True), 0.0, 0.0)
    for now_s in (*range(10, int(LATE_S), 10), LATE_S + AFTER_S - 20.0):
        rest = after(rest, now_s, now_s)
        assert rest.waking
    assert after(rest, LATE_S + AFTER_S, LATE_S + AFTER_S).idle


def test_a_start_that_began_before_a_restart_is_not_measured() -> None:
    rest = after(Rest(waking=True, start_s=33.0), 5.0, 0.0, replace(READY, ready=False))
    assert after(rest, 6.0, 0.0, READY).start_s == 33.0


def test_the_very_first_start_is_measured_too() -> None:
    rest = after(after(Rest(), 5.0, math.inf), 9.0, math.inf, replace(READY, ready=False))
    assert after(rest, 50.0, math.inf, READY).start_s == 45.0
    assert not rest.waking


@pytest.mark.parametrize(("shared", "start_s"), [(True, PROCESS_S + 70.0), (False, PROCESS_S + 20.0)])
def test_before_a_start_was_measured_the_profile_says_how_long_it_takes(shared: bool, start_s: float) -> None:
    assert followed_rest(seen(0.0, None), PROFILE, Rest(), shared=shared).start_s == start_s


def test_workers_of_endpoints_take_no_gpu_and_neither_start_nor_stop_anything() -> None:
    assert after(SERVING, AFTER_S, AFTER_S, ENGINE).starting_since_s == AFTER_S
    assert after(Rest(idle=True), 0.0, AFTER_S, ENGINE).idle
    assert not after(Rest(idle=True), 0.0, 0.0, ENGINE).waking  # requests have where to go


@pytest.mark.parametrize("spec", [make_spec(gpus={"max": 4}), make_spec(mode="Advisory")])
def test_who_did_not_ask_for_it_is_never_idle(spec: ServiceSpec) -> None:
    snapshot = seen(10 * AFTER_S, Quiet(10 * AFTER_S), READY, spec=spec)
    rest = followed_rest(snapshot, PROFILE, Rest(idle=True, quiet_since_s=0.0), shared=False)
    assert rest == Rest()
    assert idle_condition(spec, rest) is None


@pytest.mark.parametrize(
    ("desired", "most", "counts"),
    [
        ({"light": 0, "heavy": 2}, 4, {"light": 1, "heavy": 2}),
        ({"light": 0, "heavy": 4}, 4, {"light": 1, "heavy": 3}),
        ({"light": 2, "heavy": 2}, 4, {"light": 2, "heavy": 2}),
        ({"light": 0, "heavy": 0}, 4, {"light": 0, "heavy": 0}),
        ({"light": 0, "heavy": 1}, 1, {"light": 1, "heavy": 0}),
    ],
)
def test_the_tier_of_the_shortest_start_is_among_the_first(
    desired: dict[str, int], most: int, counts: dict[str, int]
) -> None:
    spec = make_spec(gpus={"max": most, "idleAfter": "60s"})
    starting = Rest(starting_since_s=0.0)
    assert resting_workers(desired, seen(0.0, None, spec=spec), PROFILE, starting, shared=False) == counts
    assert resting_workers(desired, seen(0.0, None, spec=spec), PROFILE, Rest(), shared=False) == desired
    assert resting_workers(desired, seen(0.0, None, spec=spec), PROFILE, starting, shared=True) == desired
    idle = resting_workers(desired, seen(0.0, None, spec=spec), PROFILE, Rest(idle=True), shared=False)
    assert idle == {"light": 0, "heavy": 0}


def test_the_condition_says_what_happens_next() -> None:
    by_rest = {
        rest: idle_condition(SPEC, replace(rest, start_s=40.2))
        for rest in (Rest(idle=True), Rest(waking=True), Rest(quiet_since_s=0.0))
    }
    assert [(c.status, c.reason) for c in by_rest.values() if c] == [
        ("True", "NoRequest"),
        ("False", "Waking"),
        ("False", "InUse"),
    ]
    idle = by_rest[Rest(idle=True)]
    assert idle is not None
    assert idle.message == "no request for 60s; the next one starts a worker in about 40 s"


# The whole step


@dataclass
class Service:
    """A service with one group of workers, whose start takes `start_s`; the operator may be started anew."""

    start_s: float = 30.0
    placement: str = "Shared"
    now_s: float = 0.0
    last_request_s: float = -math.inf
    arrivals: float = 0.0
    replicas: dict[str, int] = field(default_factory=dict)
    since_s: dict[str, list[float]] = field(default_factory=dict)
    """When the workers of each group were made."""
    memory: Memory = field(default_factory=Memory)

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        if self.placement == "Shared":
            return {"ALL": ("light", "heavy")}
        return {"light": ("light",), "heavy": ("heavy",)}

    @property
    def desired(self) -> int:
        return sum((self.memory.workers_by_tier or {}).values())

    def ask(self) -> None:
        self.last_request_s, self.arrivals = self.now_s, self.arrivals + 1

    def step(self, seconds: float, *, read: bool = True, waits: bool = False) -> Decision:
        """Let time pass, and take a step; `waits`: a request is not answered yet."""
        self.now_s += seconds
        workers = tuple(
            Worker(f"{name}-{i}", name, self.groups[name], ready=self.now_s - made_s >= self.start_s, started_s=made_s)
            for name, each in self.since_s.items()
            for i, made_s in enumerate(each)
        )
        groups = tuple(
            WorkerGroup(name, tiers, self.replicas.get(name, 0), self.replicas.get(name, 0))
            for name, tiers in self.groups.items()
        )
        quiet = Quiet(0.0 if waits else self.now_s - self.last_request_s) if read else None
        reading = DemandReading(self.now_s, {"r": self.arrivals}) if read else NOT_READ
        spec = make_spec(placement=self.placement)
        decision = decide(
            Snapshot(self.now_s, spec, PROFILE, reading, workers, groups, late_s=LATE_S, quiet=quiet), self.memory
        )
        self.memory = decision.memory
        assert decision.replicas is not None
        self.replicas = dict(decision.replicas)
        for name, count in self.replicas.items():
            made = self.since_s.setdefault(name, [])
            del made[count:]
            made += [self.now_s] * (count - len(made))
        return decision

    def restart(self) -> None:
        """Begin anew with what the status says."""
        memory, rest = self.memory, self.memory.rest
        kept = Rest(idle=rest.idle, waking=rest.waking, start_s=rest.start_s)
        self.memory = Memory(plan=memory.plan, workers_by_tier=memory.workers_by_tier, rest=kept)


def until_idle(service: Service) -> None:
    service.ask()
    for _ in range(200):
        service.step(2.0)
        if service.memory.rest.idle and not sum(service.replicas.values()):
            return
    raise AssertionError("it never was idle")


def statuses(decision: Decision) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.reason) for c in decision.conditions}


@pytest.mark.parametrize("placement", ["Shared", "Dedicated"])
def test_all_workers_go_and_the_next_request_brings_them_back(placement: str) -> None:
    service = Service(placement=placement)
    until_idle(service)
    shown = statuses(service.step(2.0))
    assert (shown["Ready"], shown["Idle"]) == (("True", "Idle"), ("True", "NoRequest"))
    assert shown["PlanApplied"] == ("True", "Applied")
    assert shown["Degraded"] == ("False", "AsPlanned")
    service.ask()
    shown = statuses(service.step(2.0, waits=True))
    assert (shown["Ready"], shown["Idle"]) == (("True", "Waking"), ("False", "Waking"))
    assert sum(service.replicas.values()) > 0
    assert placement == "Shared" or service.replicas["light"] > 0
    for _ in range(15):
        decision = service.step(2.0, waits=True)
    assert statuses(decision)["Ready"] == ("True", "Serving")
    assert decision.plan is not None
    assert service.memory.rest.start_s == pytest.approx(service.start_s, abs=2.0)


@pytest.mark.parametrize("waits", [True, False])
def test_an_operator_that_is_started_while_a_service_is_idle_wakes_it_for_a_request_alone(waits: bool) -> None:
    service = Service()
    until_idle(service)
    service.restart()
    service.step(2.0)
    assert sum(service.replicas.values()) == 0
    service.restart()  # and one that was killed when the request came
    if waits:
        service.ask()
    service.step(0.1, waits=waits)
    assert (service.desired > 0) is waits
    service.step(2.0, waits=waits)  # before, controllers may be at work on a count that is not known
    assert (sum(service.replicas.values()) > 0) is waits


HAPPENINGS = st.lists(
    st.tuples(
        st.sampled_from(["step", "step", "ask", "ask and wait", "blind", "restart"]),
        st.sampled_from([0.5, 2.0, 10.0, 40.0, 70.0]),
    ),
    max_size=30,
)


@settings(max_examples=60)
@given(
    happenings=HAPPENINGS,
    start_s=st.sampled_from([1.0, 30.0, 90.0]),
    placement=st.sampled_from(["Shared", "Dedicated"]),
)
def test_never_zero_while_a_request_waits_and_never_before_a_worker_could_serve(
    happenings: list[tuple[str, float]], start_s: float, placement: str
) -> None:
    service = Service(start_s=start_s, placement=placement)
    service.step(0.0)
    woken_s = 0.0
    for what, seconds in happenings:
        had = service.desired
        if what == "restart":
            service.restart()
        if what.startswith("ask"):
            service.ask()
        service.step(seconds, read=what != "blind", waits=what == "ask and wait")
        has = service.desired
        if what == "ask and wait":
            assert has > 0
        if what == "blind":
            assert bool(has) is bool(had)
        if has and not had:
            woken_s = service.now_s
            assert service.now_s - service.last_request_s < AFTER_S or what == "ask and wait"
        if had and not has:
            assert service.now_s - service.last_request_s >= AFTER_S
            assert service.now_s - woken_s >= min(start_s, LATE_S)
