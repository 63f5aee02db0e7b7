"""Demand from counters: what is observed, what is forecast, and counters that misbehave."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hadis.planning.forecast import Demand
from hadis.planning.tuning import Tuning

HORIZON_S = 2.0
Reading = tuple[float, float]


def read(*readings: Reading) -> Demand:
    """Return the demand after readings (seconds, total) of one router."""
    demand = Demand()
    for at_s, total in readings:
        demand = demand.add(at_s, {"router": total})
    return demand


def steady(rps: float, seconds: int) -> list[Reading]:
    return [(float(t), rps * t) for t in range(seconds + 1)]


def test_before_two_readings_there_is_no_demand() -> None:
    assert (read().forecast_rps(HORIZON_S), read((0, 5)).observed_rps, read((0, 5)).forecast_rps(HORIZON_S)) == (
        0,
        0,
        0,
    )


def test_a_steady_rate_is_forecast_with_the_noise_of_a_poisson_count() -> None:
    demand = read(*steady(5.0, 60))
    assert demand.observed_rps == pytest.approx(5.0)
    assert demand.forecast_rps(HORIZON_S) == pytest.approx(5.0 + math.sqrt(5.0 / 5.0))


def test_a_burst_is_seen_at_once_and_not_forgotten_in_the_next_lull() -> None:
    readings = [*steady(1.0, 30), (31.0, 60.0)]
    assert read(*readings).forecast_rps(HORIZON_S) > 6
    lull = read(*readings, *((float(t), 60.0) for t in range(32, 40)))
    assert lull.observed_rps == 0
    assert lull.forecast_rps(HORIZON_S) > 1


def test_a_rise_is_carried_on_over_the_horizon() -> None:
    ramp = read(*((float(t), t * t / 20) for t in range(61)))
    assert ramp.observed_rps < ramp.forecast_rps(0.0) < ramp.forecast_rps(2.0) < ramp.forecast_rps(4.0)


def test_the_demand_is_known_when_readings_reach_over_the_fast_window() -> None:
    assert [read(*steady(3.0, seconds)).informed for seconds in (0, 4, 5, 60)] == [False, False, True, True]
    assert read((0.0, 0.0), (120.0, 60.0)).observed_rps == pytest.approx(0.5)


def poisson(*rates_rps: float) -> list[float]:
    """Return the demand to route for at each second, of random arrivals at these rates for two minutes each."""
    draw, total, demand, seen = random.Random(3), 0.0, Demand().add(0.0, {"router": 0.0}), []
    for second, rate_rps in enumerate((rate for rate in rates_rps for _ in range(120)), 1):
        arrived = 0.0
        while (arrived := arrived + draw.expovariate(rate_rps)) < 1:
            total += 1
        demand = demand.add(float(second), {"router": total})
        seen.append(demand.current_rps)
    return seen


def test_a_steady_demand_is_routed_for_steadily_and_a_change_is_seen_within_seconds() -> None:
    seen = poisson(12.0, 24.0)
    assert statistics.pstdev(seen[30:120]) < 0.05 * 12
    assert seen[120 + 8] == pytest.approx(24, rel=0.2)
    assert seen[-1] == pytest.approx(24, rel=0.1)


def test_readings_are_kept_for_the_longest_window() -> None:
    demand, longest_s = read(*steady(3.0, 1000)), int(Tuning().steady_window_s)
    assert demand.readings[0] == (1000.0 - longest_s, 3.0 * (1000 - longest_s))
    assert len(demand.readings) == longest_s + 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_reading_that_is_no_number_is_left_out(bad: float) -> None:
    demand = read(*steady(3.0, 20), (21.0, bad))
    assert demand.observed_rps == pytest.approx(3.0)
    assert demand.add(22.0, {"router": 66.0, "other": bad}).observed_rps == pytest.approx(3.0)


def test_a_counter_that_starts_anew_is_no_negative_demand() -> None:
    restarted = [*steady(3.0, 20), *((20.0 + t, 3.0 * t) for t in range(1, 11))]
    assert read(*restarted).observed_rps == pytest.approx(3.0)


def test_time_that_stands_still_or_goes_back_is_left_out() -> None:
    assert read(*steady(3.0, 20), (20.0, 1000.0), (5.0, 1000.0)).observed_rps == pytest.approx(3.0)


def test_counters_come_go_and_start_anew() -> None:
    demand, totals = Demand(), []
    for at_s, series in enumerate(
        ({"a": 100.0}, {"a": 110.0, "b": 50.0}, {"b": 53.0}, {"a": 4.0, "b": 53.0}, {}, {"a": 9.0, "b": 54.0})
    ):
        demand = demand.add(float(at_s), series)
        totals.append(demand.total)
    # A new one counts from what it shows; one that fell counts from 0; one that was away from what it showed.
    assert totals == [0, 10, 13, 17, 17, 23]
    assert len(demand.readings) == 5


def test_counters_that_are_remembered_are_bounded_and_the_latest_stay() -> None:
    demand = Demand()
    for at_s in range(1500):
        demand = demand.add(float(at_s), {"stays": 2.0 * at_s, f"gone-{at_s}": 1.0})
    assert len(demand.series) == 1000
    assert {"stays", "gone-1499"} <= set(demand.series)
    assert "gone-0" not in demand.series
    assert demand.total == 2.0 * 1499  # none of its rises was missed


def test_a_demand_is_not_changed_by_a_reading() -> None:
    before = read(*steady(3.0, 10))
    former = (dict(before.series), before.total, before.readings)
    before.add(11.0, {"router": 50.0, "other": 1.0})
    assert (before.series, before.total, before.readings) == former


def test_no_counter_of_the_last_reading_is_forgotten() -> None:
    """Sixteen routers that count sixty sizes each have more than are remembered of those that are gone."""
    demand = Demand().add(0.0, {f"r{i}": 0.0 for i in range(1200)}).add(10.0, {f"r{i}": 1.0 for i in range(1200)})
    assert demand.total == 1200


def test_counters_that_rise_as_no_service_could_make_them_count_from_there() -> None:
    wild = [*steady(3.0, 60), (61.0, 2.0**53), (62.0, 2.0**53 + 4)]
    assert read(*wild).forecast_rps(HORIZON_S) < 6


def test_readings_in_a_row_say_no_rate() -> None:
    assert read((0.0, 0.0), (0.01, 1.0)).observed_rps == 0
    assert read((0.0, 0.0), (0.01, 1.0), (2.0, 4.0)).observed_rps == pytest.approx(2.0)
