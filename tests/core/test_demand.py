"""Demand from a counter: what is observed, what is forecast, and counters that misbehave."""

from __future__ import annotations

import math

import pytest
from hadis.planning.forecast import Forecaster


def fed(*readings: tuple[float, float], horizon_s: float = 2.0, noise: float = 0.0) -> Forecaster:
    forecaster = Forecaster(horizon_s, noise)
    for now, total in readings:
        forecaster.update(now, total)
    return forecaster


def steady(rps: float, seconds: int) -> list[tuple[float, float]]:
    return [(float(t), rps * t) for t in range(seconds + 1)]


def test_before_two_readings_there_is_no_demand() -> None:
    assert (fed().forecast_rps, fed((0, 5)).observed_rps) == (0.0, 0.0)


def test_a_steady_rate_is_forecast_as_it_is() -> None:
    forecaster = fed(*steady(3.0, 60))
    assert forecaster.observed_rps == pytest.approx(3.0)
    assert forecaster.forecast_rps == pytest.approx(3.0)


def test_noise_is_that_of_a_poisson_count() -> None:
    assert fed(*steady(5.0, 60), noise=1.0).forecast_rps == pytest.approx(5.0 + math.sqrt(5.0 / 5.0))


def test_a_burst_is_seen_at_once_and_not_forgotten_in_the_next_lull() -> None:
    readings = [*steady(1.0, 30), (31.0, 60.0)]
    assert fed(*readings).forecast_rps > 6
    lull = [*readings, *((float(t), 60.0) for t in range(32, 40))]
    assert fed(*lull).observed_rps == 0
    assert fed(*lull).forecast_rps > 1


def test_a_rise_is_carried_on() -> None:
    ramp = [(float(t), t * t / 20) for t in range(61)]
    assert fed(*ramp).forecast_rps > fed(*ramp).observed_rps


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_reading_that_is_no_number_is_left_out(bad: float) -> None:
    assert fed(*steady(3.0, 20), (21.0, bad)).observed_rps == pytest.approx(3.0)


def test_a_counter_that_starts_anew_is_no_negative_demand() -> None:
    restarted = [*steady(3.0, 20), *((20.0 + t, 3.0 * t) for t in range(1, 11))]
    assert fed(*restarted).observed_rps == pytest.approx(3.0)


def test_time_that_stands_still_or_goes_back_is_left_out() -> None:
    assert fed(*steady(3.0, 20), (20.0, 1000.0), (5.0, 1000.0)).observed_rps == pytest.approx(3.0)
