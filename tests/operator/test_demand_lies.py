"""Whatever Prometheus and routers answer: no exception, no plan from nonsense, and the truth is believed again."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Mapping
from typing import Any

import hypothesis.strategies as st
import pytest
from documents import profile_document
from fake_http import FakeHttp
from fake_kube import FakeKube
from hadis.api.resources import CascadeProfile, ServiceSpec
from hadis.planning.decide import Decision, decide
from hadis.planning.memory import Memory
from hadis.planning.profile import Profile
from hadis.planning.snapshot import DemandReading, Problem, Snapshot, Worker, WorkerGroup
from hadis_operator.demand_reader import DemandReader
from hadis_operator.settings import OperatorSettings
from hypothesis import given, settings

PROMETHEUS, ROUTER = "http://prometheus:9090", "http://r:8080"
PROFILE = Profile(CascadeProfile.read(profile_document()))
SPEC: dict[str, Any] = {
    "profile": "two",
    "objective": {"latency": "4s"},
    "gpus": {"max": 8},
    "placement": "Shared",
    "scaleDownAfter": "2s",
}
SPECS = {
    ROUTER: ServiceSpec.read(SPEC),
    PROMETHEUS: ServiceSpec.read(SPEC | {"metrics": {"prometheus": {"address": PROMETHEUS, "query": "arrivals"}}}),
}
"""By who tells the demand."""
WORKERS = tuple(Worker(f"p{i}", "g", ("light", "heavy"), ready=True, url=f"http://w{i}:8100") for i in range(2))
GROUP = WorkerGroup("g", ("light", "heavy"), replicas=2, created=2)
RPS = 2.0


class Service:
    """One service and who tells its demand, a step every two seconds."""

    def __init__(self, spec: ServiceSpec, memory: Memory | None = None, now_s: float = 0.0) -> None:
        self.spec, self.memory, self.now_s = spec, memory or Memory(), now_s
        self.http = FakeHttp()
        self.reader = DemandReader("a/b", OperatorSettings(), FakeKube(), self.http.session, lambda: self.now_s)

    async def step(
        self, answers: Mapping[str, str] | None = None, after_s: float = 2.0
    ) -> tuple[DemandReading | Problem, Decision]:
        """Take a step with the truth, or with these answers to every question."""
        self.now_s += after_s
        self.http.answers = dict(answers) if answers is not None else self.truth()
        reading = await self.reader.read(self.spec, [ROUTER], None)
        decision = decide(Snapshot(self.now_s, self.spec, PROFILE, reading, WORKERS, (GROUP,)), self.memory)
        self.memory = decision.memory
        return reading, decision

    def truth(self) -> dict[str, Any]:
        arrivals, at_s = RPS * self.now_s, 1.7e9 + self.now_s

        def answer(params: Mapping[str, str]) -> str:
            return vector(at_s, at_s if params["query"].startswith("timestamp(") else arrivals)

        return {f"{PROMETHEUS}/api/v1/query": answer, f"{ROUTER}/metrics": f"hadis_router_arrivals_total {arrivals}\n"}


def vector(evaluated: object, value: object) -> str:
    result = [{"metric": {"pod": "r"}, "value": [evaluated, value]}]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})


NUMBERS = st.one_of(
    st.floats(),
    st.integers(),
    st.sampled_from([-5, 0, 2**53, 2**53 + 2, 10**400, 1e308, 1e-308, 1.7e9, 1.7e9 + 900, 1.7e9 + 62]),
)
VALUES = st.one_of(NUMBERS, NUMBERS.map(str), st.text(max_size=5), st.none())
TREES = st.recursive(VALUES, lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3))
REPLIES = st.one_of(
    st.text(max_size=30),
    TREES.map(json.dumps),
    TREES.map(lambda data: json.dumps({"status": "success", "data": data})),
    TREES.map(lambda result: json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})),
    st.builds(vector, VALUES, VALUES),
)
SAMPLES = st.builds(
    "{}{} {}".format,
    st.sampled_from(
        [
            "hadis_router_arrivals_total",
            "hadis_router_queued_seconds",
            "hadis_router_batch_time_ratio",
            "hadis_router_worker_time_ratio",
        ]
    ),
    st.sampled_from(
        ["", '{tier="light"}', '{tier="heavy",batch="4"}', '{tier="light",batch="-1"}', '{worker="http://w0:8100"}']
    )
    | st.text(max_size=5),
    VALUES,
)
SCRAPES = st.one_of(st.text(max_size=30), st.lists(SAMPLES, max_size=5).map("\n".join))


@functools.cache
def after_a_minute(source: str) -> Memory:
    """Return what is remembered after a minute of the truth."""
    service = Service(SPECS[source])

    async def steps() -> None:
        for _ in range(30):
            await service.step()

    asyncio.run(steps())
    return service.memory


async def check(source: str, memory: Memory, lies: list[dict[str, str]]) -> None:
    service = Service(SPECS[source], memory, 60.0)
    await service.step()
    for answers in lies:
        held = service.memory
        reading, decision = await service.step(answers)
        metrics = next(c for c in decision.conditions if c.type == "MetricsAvailable")
        if metrics.status == "False":
            assert (service.memory.demand, service.memory.plan) == (held.demand, held.plan)
            assert service.memory.workers_by_tier == held.workers_by_tier
        else:
            assert isinstance(reading, DemandReading)
            assert all(0 <= value <= 2**53 for value in reading.series.values())
        assert 0 <= decision.forecast_rps < 2e7  # a million per second, and its rise carried on
        assert sum((decision.replicas or {}).values()) <= 8
    for _ in range(10):
        reading, _ = await service.step(after_s=10.0)
    assert isinstance(reading, DemandReading)
    assert service.memory.demand.current_rps == pytest.approx(RPS)
    assert service.memory.ratios.keys() <= PROFILE.tiers.keys()


@settings(max_examples=60)
@given(replies=st.lists(REPLIES, min_size=1, max_size=2))
def test_whatever_prometheus_answers(replies: list[str]) -> None:
    lies = [{f"{PROMETHEUS}/api/v1/query": reply} for reply in replies]
    asyncio.run(check(PROMETHEUS, after_a_minute(PROMETHEUS), lies))


@settings(max_examples=60)
@given(scrapes=st.lists(SCRAPES, min_size=1, max_size=2))
def test_whatever_routers_answer(scrapes: list[str]) -> None:
    asyncio.run(check(ROUTER, after_a_minute(ROUTER), [{f"{ROUTER}/metrics": scrape} for scrape in scrapes]))
