"""What is learnt of batch times: whose fault it is that one is slow, and how soon it is believed."""

from __future__ import annotations

import random

import pytest
from documents import profile_document
from hadis.api.resources import CascadeProfile
from hadis.planning.profile import Profile
from hadis_router.dispatch.estimates import Estimates
from hadis_router.dispatch.speeds import Speeds

WORKERS = [f"w{i}" for i in range(8)]


def learn(
    speeds: Speeds, count: int, ratio: float = 1.0, tier: str = "heavy", batch: int = 4, sigma: float = 0.0
) -> None:
    draw = random.Random(0)
    for i in range(count):
        speeds.learn(WORKERS[i % len(WORKERS)], tier, batch, ratio * draw.lognormvariate(0, sigma))


def test_nothing_learnt_is_as_profiled() -> None:
    assert Speeds().tier_ratio("heavy", 1) == Speeds().worker_ratio("w0") == 1


@pytest.mark.parametrize("ratio", [1.5, 2.0, 9.0])
def test_a_slow_down_is_believed_within_some_batches(ratio: float) -> None:
    speeds = Speeds()
    learn(speeds, 64)
    learn(speeds, 16, ratio)
    assert speeds.tier_ratio("heavy", 4) == pytest.approx(ratio, rel=0.1)
    assert speeds.worker_ratio("w0") == pytest.approx(1, rel=0.25)


def test_a_speed_up_is_believed_later_than_a_slow_down() -> None:
    slower, faster = Speeds(), Speeds()
    learn(slower, 64)
    learn(slower, 8, 2.0)
    learn(faster, 64, 2.0)
    learn(faster, 8, 1.0)
    assert slower.tier_ratio("heavy", 4) > 1.7
    assert faster.tier_ratio("heavy", 4) > 1.5
    learn(faster, 64, 1.0)
    assert faster.tier_ratio("heavy", 4) == pytest.approx(1, rel=0.05)


def test_noise_moves_the_mean_by_little() -> None:
    speeds = Speeds()
    learn(speeds, 400, sigma=0.3)
    assert speeds.tier_ratio("heavy", 4) == pytest.approx(1.046, rel=0.15)  # a lognormal's mean is over its median


def test_one_outlier_says_little() -> None:
    speeds = Speeds()
    learn(speeds, 64)
    speeds.learn("w3", "heavy", 4, 100.0)
    assert speeds.tier_ratio("heavy", 4) < 1.1
    assert speeds.worker_ratio("w3") < 1.3


def test_a_slow_worker_is_its_own_fault() -> None:
    speeds = Speeds()
    for _ in range(20):
        for worker in WORKERS:
            speeds.learn(worker, "heavy", 4, 4.0 if worker == "w2" else 1.0)
    assert speeds.worker_ratio("w2") == pytest.approx(4, rel=0.25)
    assert speeds.worker_ratio("w1") == pytest.approx(1, rel=0.1)
    assert speeds.tier_ratio("heavy", 4) == pytest.approx(1, rel=0.1)


def test_of_two_workers_the_fast_one_is_as_the_profile_says() -> None:
    speeds = Speeds()
    for _ in range(20):
        speeds.learn("slow", "heavy", 1, 3.0)
        speeds.learn("fast", "heavy", 1, 1.0)
    assert speeds.worker_ratio("fast") == pytest.approx(1, rel=0.1)
    assert speeds.worker_ratio("slow") == pytest.approx(3, rel=0.25)


def test_sizes_may_differ_and_near_ones_take_after_each_other() -> None:
    speeds = Speeds()
    for _ in range(30):
        speeds.learn("w0", "heavy", 1, 1.0)
        speeds.learn("w0", "heavy", 16, 2.0)
    small, middle, large = (speeds.tier_ratio("heavy", size) for size in (1, 4, 16))
    assert small < 1.2 < middle < 1.8 < large


def test_a_tier_that_never_ran_takes_after_the_others() -> None:
    speeds = Speeds()
    learn(speeds, 40, 2.0, tier="light")
    assert speeds.tier_ratio("heavy", 4) == pytest.approx(2, rel=0.1)
    assert not speeds.batches("heavy")


def test_workers_that_are_gone_are_forgotten() -> None:
    speeds = Speeds()
    for _ in range(20):
        for worker in WORKERS:
            speeds.learn(worker, "heavy", 4, 4.0 if worker == "w2" else 1.0)
    speeds.keep(set(WORKERS) - {"w2"})
    assert speeds.worker_ratio("w2") == 1
    speeds.learn("w1", "heavy", 4, 1.0)
    assert speeds.tier_ratio("heavy", 4) == pytest.approx(1, rel=0.1)  # its slowness was its own


@pytest.mark.parametrize("ratio", [0.1, 1.0, 5.0])
def test_what_few_busy_workers_tell_stays_within_what_was_seen(ratio: float) -> None:
    speeds, draw = Speeds(), random.Random(1)
    learn(speeds, 200, 2.0, sigma=0.5)
    for i in range(1000):
        speeds.learn(WORKERS[i % 2], "heavy", 4, ratio * draw.lognormvariate(0, 0.3))
        idle = speeds.tier_ratio("heavy", 4) * speeds.worker_ratio("w5")
        assert min(2.0, ratio) / 2 < idle < max(2.0, ratio) * 2
    assert speeds.tier_ratio("heavy", 4) * speeds.worker_ratio("w0") == pytest.approx(ratio, rel=0.4)


@pytest.mark.parametrize("seed", range(5))
def test_means_that_are_worked_out_now_and_then_are_those_of_every_batch(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(seed)
    pace = {worker: draw.choice([1.0, 1.0, 3.0]) for worker in WORKERS}
    batches = [
        (worker, draw.choice(["light", "heavy"]), draw.choice([1, 2, 4]), pace[worker] * draw.lognormvariate(0, 0.2))
        for worker in draw.choices(WORKERS, k=500)
    ]
    now_and_then, every_time = Speeds(), Speeds()
    for batch in batches:
        now_and_then.learn(*batch)
    monkeypatch.setattr("hadis_router.dispatch.speeds._NEWS", 0)
    for batch in batches:
        every_time.learn(*batch)
    for worker in WORKERS:
        assert now_and_then.worker_ratio(worker) == pytest.approx(every_time.worker_ratio(worker), rel=0.1)
    for tier in ("light", "heavy"):
        assert now_and_then.tier_ratio(tier, 4) == pytest.approx(every_time.tier_ratio(tier, 4), rel=0.1)


def test_a_workers_first_batch_and_a_change_say_something_at_once() -> None:
    speeds = Speeds()
    learn(speeds, 200)
    speeds.learn("new", "heavy", 4, 4.0)
    assert speeds.worker_ratio("new") > 1.5
    before = speeds.tier_ratio("heavy", 4)
    learn(speeds, 3, 4.0)  # as many as the test for a change needs
    assert speeds.tier_ratio("heavy", 4) > 2 * before


@pytest.mark.parametrize("told", [1, 2, 3])
def test_what_a_worker_that_is_gone_told_last_is_forgotten_with_it(told: int) -> None:
    speeds = Speeds()
    learn(speeds, 200)
    for _ in range(told):
        speeds.learn("w0", "heavy", 4, 1.0)
    speeds.keep(set(WORKERS) - {"w0"})
    for _ in range(8):
        speeds.learn("w1", "heavy", 4, 1.0)
    assert speeds.worker_ratio("w0") == 1
    assert speeds.tier_ratio("heavy", 4) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("pace", [1.5, 4.0])
def test_an_endpoint_that_gets_slower_says_nothing_of_the_workers_beside_it(pace: float) -> None:
    speeds, draw = Speeds({"endpoint"}), random.Random(2)
    for ratio in (1.0, pace, 1.0):
        for i in range(200):
            speeds.learn(f"slot{i % 4}", "endpoint", 1, ratio * draw.lognormvariate(0, 0.15))
            if ratio != 1.0 or i > 100:
                speeds.learn(WORKERS[i % 2], "light", 4, draw.lognormvariate(0, 0.15))
        assert speeds.tier_ratio("endpoint", 1) == pytest.approx(ratio, rel=0.3)
        assert speeds.tier_ratio("light", 4) == pytest.approx(1, rel=0.3)
        assert speeds.worker_ratio("w0") == pytest.approx(1, rel=0.3)
        assert speeds.tier_ratio("heavy", 1) == pytest.approx(1, rel=0.3)


def test_dedicated_workers_of_two_tiers_are_compared_with_their_peers_alone() -> None:
    speeds = Speeds()
    for _ in range(3):
        for i in range(100):
            speeds.learn(f"l{i % 2}", "light", 1, 1.0)
            speeds.learn(f"h{i % 6}", "heavy", 1, 4.0)
    assert speeds.tier_ratio("light", 1) == pytest.approx(1, rel=0.1)
    assert speeds.tier_ratio("heavy", 1) == pytest.approx(4, rel=0.1)
    assert speeds.worker_ratio("l0") == pytest.approx(1, rel=0.1)


def test_a_tier_that_never_ran_is_told_of_as_soon_as_another_did(profile: Profile) -> None:
    estimates = Estimates(profile)
    assert estimates.tier_ratios == {}
    for _ in range(20):
        estimates.learn("w0", "light", 1, False, 0.3)
    assert estimates.tier_ratios["heavy"] == pytest.approx(dict.fromkeys((1, 2, 4), 3.0))


def test_an_endpoint_that_never_ran_is_not_told_of() -> None:
    document = profile_document()
    document["spec"]["tiers"][1] |= {"remote": {"url": "http://engine/v1", "slots": 3}, "tunable": False}
    estimates = Estimates(Profile(CascadeProfile.read(document)))
    estimates.learn("w0", "light", 1, False, 0.3)
    assert set(estimates.tier_ratios) == {"light"}
    estimates.forget()
    estimates.learn("e0", "heavy", 1, False, 3.0)
    assert set(estimates.tier_ratios) == {"heavy"}
