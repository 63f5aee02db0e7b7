"""Which readings are believed: what cannot be a count is refused by name, and the plan is held."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from documents import profile_document
from hadis.api.resources import CascadeProfile, ServiceSpec
from hadis.planning.decide import decide
from hadis.planning.memory import Memory
from hadis.planning.profile import Profile
from hadis.planning.readings import MOST_COUNT, believed
from hadis.planning.snapshot import DemandReading, Problem, Snapshot, Worker, WorkerGroup

GOOD = DemandReading(100.0, {"router": 5.0}, {"light": 1.0}, {"light": {4: 2.0}}, {"http://w": 1.5})
SPEC = ServiceSpec.read({"profile": "two", "objective": {"latency": "4s"}, "gpus": {"max": 4}})
PROFILE = Profile(CascadeProfile.read(profile_document()))
WORKER = Worker("w", "g", ("light", "heavy"), ready=True)
GROUP = WorkerGroup("g", ("light", "heavy"), replicas=1, created=1)


def test_what_can_be_is_believed() -> None:
    assert believed(GOOD, 100.0) == GOOD
    most = replace(GOOD, series={"router": MOST_COUNT}, at_s=104.0)
    assert believed(most, 100.0) == most


BAD = [
    (replace(GOOD, series={"a": 1.0, "b": math.nan}), "NotANumber", "b is nan"),
    (replace(GOOD, series={"a": math.inf}), "NotANumber", "a is inf"),
    (replace(GOOD, series={"a": -5.0}), "NegativeSample", "a is -5"),
    (replace(GOOD, series={"a": 1e308}), "SampleTooLarge", "no count is over 2^53"),
    (replace(GOOD, queued_s={"heavy": -1.0}), "NegativeSample", "work queued for heavy is -1"),
    (replace(GOOD, at_s=1000.0), "FutureSample", "the reading is 900 s in the future"),
    (replace(GOOD, at_s=math.nan), "NotANumber", "the time nan"),
]


@pytest.mark.parametrize(("reading", "reason", "said"), BAD)
def test_what_cannot_be_is_refused_and_the_plan_held(reading: DemandReading, reason: str, said: str) -> None:
    memory = Memory()
    for at_s in range(0, 100, 2):
        good = DemandReading(float(at_s), {"router": 2.0 * at_s})
        memory = decide(Snapshot(float(at_s), SPEC, PROFILE, good, (WORKER,), (GROUP,)), memory).memory
    after = decide(Snapshot(100.0, SPEC, PROFILE, reading, (WORKER,), (GROUP,)), memory)
    metrics = next(c for c in after.conditions if c.type == "MetricsAvailable")
    assert (metrics.status, metrics.reason) == ("False", reason)
    assert said in metrics.message and "the last plan is held" in metrics.message
    assert (after.memory.demand, after.plan) == (memory.demand, memory.plan)
    assert after.memory.workers_by_tier == memory.workers_by_tier


def test_ratios_that_cannot_be_are_left_out() -> None:
    ratios = {"light": {4: math.nan, 8: 2.0, 0: 1.0}, "heavy": {1: 1e308, 2: 0.0, 3: -1.0, 10**30: 1.0}}
    reading = replace(GOOD, ratios=ratios, worker_ratios={"http://a": math.inf, "http://b": 1e-308, "http://c": 3.0})
    kept = believed(reading, 100.0)
    assert not isinstance(kept, Problem)
    assert (kept.ratios, kept.worker_ratios) == ({"light": {8: 2.0}}, {"http://c": 3.0})


def test_ratios_of_tiers_that_the_profile_does_not_have_are_not_kept() -> None:
    reading = replace(GOOD, ratios={"light": {4: 2.0}, "other": {4: 2.0}})
    after = decide(Snapshot(100.0, SPEC, PROFILE, reading, (WORKER,), (GROUP,)), Memory())
    assert after.memory.ratios == {"light": {4: 2.0}}
