"""A router that starts goes on from the batch times that were learnt before it, as plans tell them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
from documents import profile_document
from hadis.api.resources import CascadeProfile
from hadis.planning.profile import Profile
from hadis.planning.readings import ratios_of
from hadis.planning.speeds import DEAD_BAND, followed
from hadis.protocol.run_state import RunState, WorkerAddress, read_state, write_state
from hadis_router.dispatch.estimates import Estimates
from hypothesis import given, settings
from hypothesis import strategies as st
from test_api import PLAN, Instant, make_app

PROFILE = Profile(CascadeProfile.read(profile_document()))
SIZES = (1, 2, 4)
SLOW = {"light": {1: 3.0, 2: 2.5, 4: 2.0}, "heavy": {1: 3.0, 2: 3.0, 4: 3.0}}
Batches = list[tuple[str, int, int, float]]
"""(tier, size, worker, ratio)"""


def learn(estimates: Estimates, batches: Batches) -> None:
    for tier, size, worker, ratio in batches:
        estimates.learn(f"w{worker}", tier, size, False, PROFILE.latency_s(tier, size) * ratio)


def times(estimates: Estimates) -> dict[tuple[str, int], float]:
    return {(tier, size): estimates.latency_s(tier, size) for tier in PROFILE.tiers for size in SIZES}


def test_what_was_learnt_before_is_believed_and_not_told_as_learnt_here() -> None:
    estimates = Estimates(PROFILE)
    estimates.start_from(SLOW)
    profiled = times(Estimates(PROFILE))
    assert times(estimates) == {key: pytest.approx(profiled[key] * SLOW[key[0]][key[1]]) for key in profiled}
    assert estimates.tier_ratios == {}
    learn(estimates, [("light", 2, 0, 2.5)] * 3)
    assert estimates.tier_ratios == {"light": pytest.approx(SLOW["light"])}


def test_a_tier_that_has_not_run_yet_takes_after_what_has_changed_since() -> None:
    estimates = Estimates(PROFILE)
    estimates.start_from(SLOW)
    learn(estimates, [("light", 1, i % 4, 1.0) for i in range(60)])
    assert estimates.tier_ratios["light"][1] == pytest.approx(1, rel=0.05)
    assert estimates.tier_ratios["heavy"][1] == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(("before", "now"), [(50.0, 1.0), (0.2, 20.0)])
def test_however_wrong_it_was_the_truth_is_learnt(before: float, now: float) -> None:
    estimates = Estimates(PROFILE)
    estimates.start_from({"heavy": dict.fromkeys(SIZES, before)})
    learn(estimates, [("heavy", 2, i % 4, now) for i in range(64)])
    assert estimates.tier_ratios["heavy"][2] == pytest.approx(now, rel=0.05)


def test_what_is_learnt_here_counts_until_it_is_forgotten() -> None:
    estimates = Estimates(PROFILE)
    learn(estimates, [("light", 1, 0, 1.0)])
    estimates.start_from(SLOW)
    assert estimates.latency_s("light", 1) == pytest.approx(0.1)
    estimates.forget()
    assert estimates.latency_s("light", 1) == pytest.approx(0.3)


batches = st.lists(
    st.tuples(st.sampled_from(("light", "heavy")), st.sampled_from(SIZES), st.integers(0, 3), st.floats(0.3, 30)),
    min_size=1,
    max_size=80,
)


@settings(max_examples=60)
@given(seen=batches)
def test_routers_that_start_agree_with_the_plan_and_with_each_other(seen: Batches) -> None:
    """As the control step does it: it plans with what the first router tells, and says so in a document."""
    first, second, third = Estimates(PROFILE), Estimates(PROFILE), Estimates(PROFILE)
    learn(first, seen)
    planned = followed({}, first.tier_ratios)
    document = {tier: {str(size): ratio for size, ratio in by.items()} for tier, by in planned.items()}
    for started in (second, third):
        started.start_from(ratios_of(json.loads(json.dumps(document))))
    assert times(second) == times(third)
    for tier, by_size in first.tier_ratios.items():
        for size, ratio in by_size.items():
            learnt = second.latency_s(tier, size) / PROFILE.latency_s(tier, size)
            within = DEAD_BAND * max(1.0, 1.0 / ratio) if tier not in planned else 1e-9
            assert learnt == pytest.approx(ratio, rel=within), (tier, size)


@pytest.mark.parametrize(
    ("document", "ratios"),
    [
        ({"light": {"1": 2.0, "x": 3.0}}, {}),
        ({"light": {"1": "fast"}}, {}),
        ({"light": {"1": 2.0, "2": 0.0, "4": 1e9, "-1": 2.0}}, {"light": {1: 2.0}}),
        ({}, {}),
    ],
)
def test_only_ratios_that_can_be_ones_are_taken(document: dict[str, Mapping[str, float]], ratios: object) -> None:
    assert ratios_of(document) == ratios


def test_a_run_file_keeps_them_and_says_whose_they_are(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_state(path, RunState(None, (), batch_time_ratios=SLOW | {"light": {1: 3.0, 2: -1.0}}, profile_hash="abc"))
    state = read_state(path)
    assert state.ratios_for("abc") == SLOW | {"light": {1: 3.0}}
    with pytest.raises(ValueError, match="of the profile abc; this one is def"):
        state.ratios_for("def")
    path.write_text('{"plan": null, "workers": [], "batch_time_ratios": {"light": 3}}')
    with pytest.raises(ValueError, match="no run state"):
        read_state(path)


async def test_the_router_starts_from_its_state_and_leaves_out_what_is_of_another_profile(
    profile: Profile, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(profile, Instant())
    workers = (WorkerAddress("http://w0", ("light", "heavy")),)
    state = RunState(PLAN, workers, batch_time_ratios=SLOW, profile_hash=profile.hash)
    other = RunState(PLAN, workers, batch_time_ratios={"light": {1: 9.0}}, profile_hash="another")
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        gateway = app.state.gateway
        gateway.take_state(state)
        assert gateway.dispatcher.estimates.latency_s("light", 1) == pytest.approx(0.3)
        with caplog.at_level(logging.WARNING):
            gateway.take_state(other)
            gateway.take_state(other)
        assert gateway.dispatcher.estimates.latency_s("light", 1) == pytest.approx(0.3)
    assert [record.getMessage() for record in caplog.records] == [
        f"what was learnt before is left out: its batch times are of the profile another; this one is {profile.hash}"
    ]
