"""Tiers of several image sizes: what a profile may say of them, and how the mix that arrives is planned with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from documents import profile_document, router_status
from hadis.api.resources import CascadeProfile, Objective, ServiceSpec
from hadis.api.tier import TierSettings
from hadis.cli.control_loop import _read_demand
from hadis.planning.decide import Decision, decide
from hadis.planning.forecast import Demand
from hadis.planning.memory import Memory
from hadis.planning.profile import FIRST_SIZES, Profile
from hadis.planning.sizes import alike_share, followed_mix, mean_and_longest_s, mix_document, read_mix, with_mix
from hadis.planning.snapshot import DemandReading, Problem, Quiet, Snapshot, Worker, WorkerGroup
from hadis.planning.solve import Solver
from hadis.planning.speeds import corrected
from hadis.protocol.address import worker_name
from hadis.protocol.labels import EVERY_TIER
from hadis.protocol.router_status import WorkerState

SMALL, LARGE = "32x32", "64x32"
HALF_LARGE = ((None, 0.5), (LARGE, 0.5))
TIERS = ("light", "heavy")
SPEC = ServiceSpec.read(
    {"profile": "two", "objective": {"latency": "4s"}, "gpus": {"max": 4}, "placement": "Shared", "mode": "Auto"}
)
WORKERS = tuple(Worker(f"p{i}", EVERY_TIER, TIERS, ready=True, url=f"http://p{i}") for i in range(4))
GROUP = WorkerGroup(EVERY_TIER, TIERS, replicas=4, created=4)


def tiers_of(sizes: list[str] | None = None, measured: Mapping[str, float] | None = None) -> list[dict[str, Any]]:
    """Return two tiers that make sizes; `measured` sizes take so many times as long as the first."""
    tiers: list[dict[str, Any]] = profile_document()["spec"]["tiers"]
    for tier in tiers:
        first = tier["latency"]
        tier["sizes"] = sizes or [tier.pop("size"), LARGE]
        tier.pop("size", None)
        tier["latency"] = first + [
            {"batch": p["batch"], "seconds": p["seconds"] * times, "size": size}
            for size, times in (measured or {}).items()
            for p in first
        ]
    return tiers


def profile_of(sizes: list[str] | None = None, measured: Mapping[str, float] | None = None) -> Profile:
    return Profile(CascadeProfile.read(profile_document(tiers=tiers_of(sizes, measured))))


def test_the_first_size_is_that_of_requests_that_name_none() -> None:
    several = TierSettings.read({"name": "t", "model": "m", "steps": 1, "sizes": [LARGE, SMALL]})
    assert (several.size, several.all_sizes) == (LARGE, (LARGE, SMALL))
    one = TierSettings.read({"name": "t", "model": "m", "steps": 1, "size": SMALL})
    assert (one.size, one.all_sizes) == (SMALL, (SMALL,))
    assert TierSettings.read({"name": "t", "model": "m", "steps": 1}).all_sizes == ("1024x1024",)
    written = several.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    assert TierSettings.read(written) == several


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"size": SMALL, "sizes": [LARGE, SMALL]}, "it is the first of sizes; leave size out"),
        ({"sizes": [LARGE, LARGE]}, "each may stand once"),
        ({"sizes": ["large"]}, "sizes.0"),
        ({"sizes": LARGE}, "sizes"),
    ],
)
def test_sizes_that_disagree_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TierSettings.read({"name": "t", "model": "m", "steps": 1, **fields})


@pytest.mark.parametrize(
    ("sizes", "measured", "words"),
    [
        ([SMALL, LARGE, "48x32"], {LARGE: 3.0}, "48x32 is not measured; measure every size, or the first alone"),
        ([SMALL], {LARGE: 3.0}, "the tier does not make 64x32; it makes 32x32"),
    ],
)
def test_every_size_is_measured_or_the_first_alone(sizes: list[str], measured: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        profile_of(sizes, measured)


def test_a_size_takes_what_was_measured_or_its_share_of_pixels() -> None:
    assert profile_of().latency_s("heavy", 2, size=LARGE) == 4.0
    measured = profile_of(measured={LARGE: 3.0})
    assert measured.latency_s("heavy", 2, size=LARGE) == 6.0
    assert measured.latency_s("heavy", 2, size=SMALL) == measured.latency_s("heavy", 2) == 2.0
    assert (measured.largest_batch("heavy", LARGE), profile_of().largest_batch("heavy", LARGE)) == (4, None)


def test_a_mix_takes_its_mean_and_promises_the_longest() -> None:
    plain = profile_of()
    mixed = with_mix(plain, HALF_LARGE)
    assert mixed is with_mix(plain, HALF_LARGE), "it is a key of tables"
    assert mean_and_longest_s(mixed, "light", 2) == pytest.approx((0.3, 0.4))
    assert mean_and_longest_s(plain, "light", 2) == (0.2, 0.2)
    assert alike_share(mixed, "light", 4.0) == 0.5
    assert mean_and_longest_s(mixed, "heavy", 1, slo_s=1.5) == (1.0, 1.0), "what is never in time does not count"


def test_a_size_that_only_one_tier_makes_counts_for_that_tier() -> None:
    tiers = tiers_of()
    tiers[0]["sizes"] = [SMALL]
    mixed = with_mix(Profile(CascadeProfile.read(profile_document(tiers=tiers))), HALF_LARGE)
    assert mean_and_longest_s(mixed, "light", 1) == (0.1, 0.1)
    assert mean_and_longest_s(mixed, "heavy", 1) == (1.5, 2.0)


@pytest.mark.parametrize("shared", [True, False])
def test_larger_images_need_more_gpus(shared: bool) -> None:
    objective = Objective.model_validate({"latency": "8s", "optimize": "Cost", "quality": 25.0})
    small, large = (
        Solver(with_mix(profile_of(), mix), objective, shared=shared).solve(6.0, 64)
        for mix in (FIRST_SIZES, HALF_LARGE)
    )
    assert small.feasible and large.feasible
    assert small.quality <= 25 and large.quality <= 25
    assert large.gpus > small.gpus


@pytest.mark.parametrize("shared", [True, False])
def test_predicted_latencies_are_of_the_longest_size(shared: bool) -> None:
    objective = Objective.model_validate({"latency": "8s"})
    plan = Solver(with_mix(profile_of(), HALF_LARGE), objective, shared=shared).solve(0.001, 4)
    assert (plan.light, plan.heavy) == ("heavy", "heavy")
    assert plan.light_latency_s == pytest.approx(2.0)


def test_the_mix_stays_where_times_are_corrected() -> None:
    slow = corrected(with_mix(profile_of(), HALF_LARGE), {"heavy": {1: 2.0}})
    assert mean_and_longest_s(slow, "heavy", 1) == pytest.approx((3.0, 4.0))


def arrivals(**counts: float) -> dict[str, Demand]:
    """Return demands that came within ten seconds."""
    return {size.strip("_"): Demand().add(0.0, {"r": 0.0}).add(10.0, {"r": n}) for size, n in counts.items()}


def test_planning_follows_the_mix_in_steps() -> None:
    profile = profile_of()
    assert followed_mix(profile, FIRST_SIZES, arrivals(auto=5, _64x32=14)) == FIRST_SIZES, "too few to say"
    mix = followed_mix(profile, FIRST_SIZES, arrivals(auto=50, _64x32=50))
    assert mix == HALF_LARGE
    assert followed_mix(profile, mix, arrivals(auto=54, _64x32=46)) == mix
    assert followed_mix(profile, mix, arrivals(auto=70, _64x32=30)) == ((None, 0.7), (LARGE, 0.3))
    assert followed_mix(profile, FIRST_SIZES, arrivals(auto=999, _64x32=1)) == FIRST_SIZES, "too rare"
    assert followed_mix(profile, FIRST_SIZES, arrivals(auto=98, _64x32=2)) != FIRST_SIZES, "the longest is longer"
    assert followed_mix(profile, mix, arrivals(auto=999, _64x32=1)) == ((None, 0.999), (LARGE, 0.001))
    assert followed_mix(profile, FIRST_SIZES, arrivals(auto=50, other=50)) == FIRST_SIZES, "nobody makes it"


def test_a_mix_is_written_and_read() -> None:
    assert read_mix(mix_document(HALF_LARGE)) == HALF_LARGE
    assert mix_document(FIRST_SIZES) == {}
    assert read_mix({}) == FIRST_SIZES


def steps(profile: Profile, shares: Mapping[str, float], memory: Memory | None = None) -> Decision:
    """Take steps at 4 requests per second for a minute, in these shares."""
    decision = Decision(memory or Memory(), ())
    for at in range(0, 60, 2):
        series = {size: 4.0 * share * at for size, share in shares.items()}
        reading = DemandReading(float(at), series, sizes={size: size for size in shares})
        decision = decide(Snapshot(float(at), SPEC, profile, reading, WORKERS, (GROUP,)), decision.memory)
    return decision


def test_larger_images_get_a_lighter_plan() -> None:
    profile = profile_of()
    small, large = (steps(profile, {"auto": 1 - share, LARGE: share}) for share in (0.0, 0.5))
    assert small.plan is not None and large.plan is not None
    assert large.memory.mix == HALF_LARGE
    assert large.plan.quality > small.plan.quality  # a distance: lower is better
    assert small.memory.mix == FIRST_SIZES


async def test_on_one_machine_the_router_tells_its_arrivals_by_size() -> None:
    ratios = {worker_name("http://w1"): 3.0, "gone": 2.0}
    status = router_status(
        arrivals_by_size={"auto": 3, LARGE: 1, "other": 0},
        idle_s=7.5,
        workers=tuple(
            WorkerState(name=name, tiers=(), busy=False, tier=None, time_ratio=ratio, slow=False)
            for name, ratio in ratios.items()
        ),
    ).json_text()

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200 if request.headers.get("hadis-secret") == "ours" else 401, text=status)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        reading = await _read_demand(http, "http://router", ["http://w0", "http://w1"], "ours")
    assert isinstance(reading, DemandReading)
    assert reading.series == {"auto": 3.0, LARGE: 1.0, "other": 0.0}
    assert reading.sizes == {"auto": "auto", LARGE: LARGE, "other": "other"}
    assert reading.quiet == Quiet(7.5)
    assert reading.worker_ratios == {"http://w1": 3.0}, "the planner knows workers by their addresses"


async def test_on_one_machine_a_count_that_no_number_holds_is_a_problem() -> None:
    status = router_status(arrivals_by_size={"auto": 10**400}).json_text()
    answers = httpx.MockTransport(lambda _: httpx.Response(200, text=status))
    async with httpx.AsyncClient(transport=answers) as http:
        assert isinstance(await _read_demand(http, "http://router"), Problem)


def test_without_sizes_in_the_reading_the_mix_of_before_is_planned_with() -> None:
    profile = profile_of()
    assert steps(profile, {}, Memory(mix=HALF_LARGE)).memory.mix == HALF_LARGE
    assert steps(profile, {}).memory.mix == FIRST_SIZES
