"""Demand from Prometheus: what is read, what is refused by name, and clocks that jump."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from fake_http import FakeHttp
from hadis.planning.forecast import Demand
from hadis.planning.snapshot import DemandReading
from hadis_operator.credentials import Credentials
from hadis_operator.demand_sources import DemandError
from hadis_operator.prometheus import STALE_S, default_query, from_prometheus
from hadis_operator.sample_clock import SampleClock

ADDRESS = "http://prometheus:9090"
URL = f"{ADDRESS}/api/v1/query"
EPOCH_S = 1.7e9
QUERY = default_query("a", "b")


@dataclass
class Server:
    """A Prometheus whose clock is `ahead_s` ahead of ours, with samples of the age `age_s`."""

    series: list[Any]
    age_s: float = 0.0
    ahead_s: float = EPOCH_S
    labels: dict[str, str] = field(default_factory=dict)
    now_s: float = 1000.0
    clock: SampleClock = field(default_factory=SampleClock)
    queries: list[Mapping[str, str]] = field(default_factory=list)

    def answer(self, params: Mapping[str, str]) -> str:
        self.queries.append(dict(params))
        at_s = self.now_s + self.ahead_s
        times = params["query"].startswith("timestamp(")
        values = [at_s - self.age_s] * len(self.series) if times else self.series
        result = [
            {"metric": self.labels | {"pod": str(i)}, "value": [at_s, str(value)]} for i, value in enumerate(values)
        ]
        return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})

    async def read(self, after_s: float = 0.0) -> DemandReading:
        """Return what is read after some seconds more."""
        self.now_s += after_s
        http = FakeHttp({URL: self.answer})
        return await from_prometheus(http.session, ADDRESS, QUERY, self.clock, self.now_s, Credentials())


async def read_text(text: str | None) -> DemandReading:
    http = FakeHttp({} if text is None else {URL: text})
    return await from_prometheus(http.session, ADDRESS, QUERY, SampleClock(), 1000.0, Credentials())


async def test_each_series_is_read_with_the_time_of_the_newest_sample_by_our_clock() -> None:
    server = Server([5, 7], age_s=10)
    reading = await server.read()
    assert sorted(reading.series.values()) == [5, 7]
    assert reading.at_s == 990.0
    assert reading.source == f"2 series from {ADDRESS}"
    assert reading.sizes == {}
    values, times = server.queries
    assert (times["query"], float(times["time"])) == (f"timestamp({values['query']})", EPOCH_S + 1000)
    sized = await Server([5, 7], labels={"size": "64x32"}).read()
    assert sized.sizes == dict.fromkeys(sized.series, "64x32")


@pytest.mark.parametrize(
    ("changes", "reason", "said"),
    [
        ({"series": []}, "NoData", "is the router scraped"),
        ({"series": [1, "NaN"]}, "NotANumber", r"\[\('pod', '1'\)\] is nan"),
        ({"series": ["+Inf"]}, "NotANumber", "is inf"),
        ({"series": ["abc"]}, "NotANumber", "a sample that is no number"),
        ({"series": [-5]}, "NegativeSample", "is -5; a count is never negative"),
        ({"series": [1, 1e308]}, "SampleTooLarge", "no count is over"),
        ({"age_s": -900.0}, "FutureSample", "is 900 s in the future"),
        ({"age_s": -1e308}, "FutureSample", "in the future"),
        ({"age_s": float("nan")}, "NotANumber", "is of the time nan"),
        ({"age_s": STALE_S + 5}, "StaleData", "is 65 s old"),
        ({"ahead_s": 1e308}, "BadAnswer", "says that it is"),
    ],
)
async def test_samples_that_cannot_be_are_refused_by_name(changes: dict[str, Any], reason: str, said: str) -> None:
    with pytest.raises(DemandError, match=said) as error:
        await Server(**{"series": [1], **changes}).read()
    assert error.value.reason == reason


def reply(**changes: Any) -> str:
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": []}} | changes)


HISTOGRAM = {"metric": {"pod": "r"}, "histogram": [0, {"count": "1", "sum": "1", "buckets": []}]}


@pytest.mark.parametrize(
    ("text", "reason", "said"),
    [
        (None, "Unreachable", "nobody listens"),
        ("<html>", "BadAnswer", "as Prometheus does"),
        ("[]", "BadAnswer", "as Prometheus does"),
        ("[" * 100_000, "BadAnswer", "as Prometheus does"),
        ('"abc"', "BadAnswer", "as Prometheus does"),
        ('{"status":"success"}', "BadAnswer", "without data"),
        (reply(data={"resultType": "vector"}), "NotANumber", "no number"),
        (reply(data={"resultType": "vector", "result": [HISTOGRAM]}), "NotANumber", "a query of counters"),
        (reply(data={"resultType": "scalar", "result": [0, "1"]}), "QueryFailed", "gives a scalar"),
        (reply(data={"resultType": "matrix", "result": []}), "QueryFailed", "gives a matrix"),
        (reply(status="error", error="parse error"), "QueryFailed", "parse error"),
        (" " * 5 * 1024 * 1024, "BadAnswer", "over 4194304 bytes"),
    ],
)
async def test_answers_that_tell_nothing_are_errors_with_a_reason(text: str | None, reason: str, said: str) -> None:
    with pytest.raises(DemandError, match=said) as error:
        await read_text(text)
    assert error.value.reason == reason
    assert len(str(error.value)) < 600


async def test_what_prometheus_says_is_told_in_part() -> None:
    with pytest.raises(DemandError) as error:
        await read_text(reply(status="error", error="x" * 100_000))
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("jump_s", [-600.0, 600.0])
async def test_a_clock_of_prometheus_that_jumps_neither_blinds_nor_poisons(jump_s: float) -> None:
    server, demand = Server([1e6]), Demand()
    for step in range(60):
        if step == 30:
            server.ahead_s += jump_s
            # After a clock went back, samples of before are told again.
            server.series[0] += min(0.0, jump_s) * 0.2
        server.series[0] += 4.0
        reading = await server.read(2.0)
        demand = demand.add(reading.at_s, reading.series)
        if step >= 3:
            # One rise may be lost: that of the step in which the clock went back.
            assert 2.0 <= demand.observed_rps <= 2.7 or (step in range(30, 34) and 1.0 <= demand.observed_rps <= 2.0)
    assert demand.observed_rps == pytest.approx(2.0)


async def test_an_answer_that_was_slow_or_comes_from_a_cache_moves_no_clock() -> None:
    server = Server([5.0])
    first = await server.read()
    server.ahead_s -= 1.5  # evaluated before, as seen from here
    assert (await server.read(2.0)).at_s - first.at_s == pytest.approx(0.5)
    server.ahead_s -= 30.0
    assert (await server.read(30.0)).at_s - first.at_s == pytest.approx(0.5)
    assert server.clock.setbacks == 0


async def test_two_prometheus_that_take_turns_are_no_burst() -> None:
    first, second = 1.7e9, 1.7e9 + 0.4
    behind_s = {first: {"a": 0.0, "b": 4.0}, second: {"a": 4.0, "b": 0.0}}
    clock, demand, now_s = SampleClock(), Demand(), 1000.0
    for step in range(40):
        now_s += 2.0
        ahead_s = (first, second)[step % 2]

        def answer(params: Mapping[str, str], at_s: float = now_s, ahead_s: float = ahead_s) -> str:
            times = params["query"].startswith("timestamp(")
            sampled_s = {pod: at_s - late_s for pod, late_s in behind_s[ahead_s].items()}
            values = {pod: s + ahead_s if times else 1e6 + 2.0 * s for pod, s in sampled_s.items()}
            name = {} if times else {"__name__": "arrivals"}
            result = [
                {"metric": name | {"pod": pod}, "value": [at_s + ahead_s, str(value)]} for pod, value in values.items()
            ]
            return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})

        reading = await from_prometheus(FakeHttp({URL: answer}).session, ADDRESS, QUERY, clock, now_s, Credentials())
        demand = demand.add(reading.at_s, reading.series)
    assert demand.observed_rps == pytest.approx(4.0, abs=1.5)
    assert demand.total == pytest.approx(4.0 * 78, abs=20)
