"""The replay's disturbances: what a text says, what it does to batches and arrivals, and what cannot be meant."""

from __future__ import annotations

import math
import re
import statistics
from pathlib import Path

import pytest
from hadis.cli import make_app
from hadis_profiler.replay.clients import read_clients
from hadis_profiler.replay.disturbance_options import read_disturbances
from hadis_profiler.replay.disturbances import (
    BatchFactors,
    Blind,
    Burst,
    Disturbances,
    Loss,
    SlowBatches,
    SlowWorkers,
    Throttle,
    disturbed_arrivals,
)
from typer.testing import CliRunner

EXAMPLE = Path(__file__).parents[2] / "examples/paper/profile.yaml"


def test_each_text_says_what_it_says() -> None:
    read = read_disturbances(
        speed=["1.5", "heavy=2", "1.5"],
        noise=".3",
        slow_batches=["0.02x4"],
        slow_workers=["2x4", "1x8"],
        throttle=["100..200x1.6"],
        lose=["4@120"],
        burst=["100@150..165.5"],
        blind=["100..200", "250..251.5"],
        routers=4,
    )
    assert read == Disturbances(
        speed={"": 2.25, "heavy": 2.0},
        noise=0.3,
        slow_batches=(SlowBatches(0.02, 4.0),),
        slow_workers=(SlowWorkers(2, 4.0), SlowWorkers(1, 8.0)),
        throttles=(Throttle(100.0, 200.0, 1.6),),
        losses=(Loss(4, 120.0),),
        bursts=(Burst(100.0, 150.0, 165.5),),
        blind=(Blind(100.0, 200.0), Blind(250.0, 251.5)),
        routers=4,
    )
    assert [read.blind_at(at) for at in (99.9, 100, 199.9, 200, 251)] == [False, True, True, False, True]


def test_factors_multiply_by_tier_worker_and_time() -> None:
    factors = BatchFactors(
        read_disturbances(
            speed=["2", "heavy=3"], slow_workers=["1x5", "1x7"], throttle=["10..20x11"], slow_batches=["1x1.5"]
        )
    )
    assert factors.draw(worker=3, tier="light", now_s=0) == 2 * 1.5
    assert factors.draw(worker=3, tier="heavy", now_s=0) == 2 * 3 * 1.5
    assert [factors.draw(worker=i, tier="light", now_s=0) / 3 for i in (0, 1, 2)] == [5, 7, 1]
    assert [factors.draw(worker=3, tier="light", now_s=at) / 3 for at in (9.9, 10, 19.9, 20)] == [1, 11, 11, 1]


def test_noise_keeps_the_median_and_has_its_sigma() -> None:
    factors = BatchFactors(read_disturbances(noise="0.3"))
    logs = [math.log(factors.draw(0, "light", 0)) for _ in range(2000)]
    assert statistics.median(logs) == pytest.approx(0, abs=0.03)
    assert statistics.pstdev(logs) == pytest.approx(0.3, rel=0.05)


def test_a_burst_arrives_on_top_in_order_and_drift_brings_the_harder_half() -> None:
    calm = [(float(at), at % 10) for at in range(100)]
    burst = read_disturbances(burst=["20@50..60"])
    arrivals = list(disturbed_arrivals(iter(calm), burst, range(10), end_s=100))
    assert arrivals == sorted(arrivals)
    extra = len(arrivals) - len(calm)
    assert 150 < extra < 250
    assert sum(50 <= at < 60 for at, _ in arrivals) == extra + 10
    drifted = list(disturbed_arrivals(iter(calm), read_disturbances(drift=True), range(10), end_s=100))
    assert [at for at, _ in drifted] == [at for at, _ in calm]
    assert statistics.mean(prompt for _, prompt in drifted[-20:]) > 6
    assert statistics.mean(prompt for _, prompt in drifted[:20]) < 5.5


@pytest.mark.parametrize(
    ("option", "text", "words"),
    [
        ("--speed", "0", "must be a number from 0.001 to 1000, for example 1.5 or TIER=1.5"),
        ("--speed", "-1", "must be a number"),
        ("--speed", "fast", "1.5 or TIER=1.5"),
        ("--speed", "sdxxl=2", "there is no tier 'sdxxl'"),
        ("--speed", "nan", "must be a number"),
        ("--noise", "-0.1", "must be a number from 0 to 3"),
        ("--noise", "loud", "must be a number from 0 to 3"),
        ("--slow-batches", "2x4", "must be a number from 0 to 1"),
        ("--slow-batches", "0.02", "0.02x4"),
        ("--slow-workers", "5x2", "5 workers, but there are 4"),
        ("--slow-workers", "1x0", "must be a number from 0.001 to 1000, for example 2x4"),
        ("--slow-workers", "1.5x2", "2x4"),
        ("--slow-workers", "1xnan", "2x4"),
        ("--slow-batches", "0.02x-4", "0.02x4"),
        ("--slow-batches", "0.02x0", "must be a number from 0.001 to 1000"),
        ("--slow-batches", "half x4", "0.02x4"),
        ("--noise", "nan", "must be a number from 0 to 3"),
        ("--noise", "inf", "must be a number from 0 to 3"),
        ("--speed", "inf", "must be a number from 0.001 to 1000"),
        ("--speed", "sdxl-lightning=0", "must be a number from 0.001 to 1000"),
        ("--speed", "sdxl-lightning=-2", "must be a number from 0.001 to 1000"),
        ("--throttle", "0..1x0", "must be a number from 0.001 to 1000"),
        ("--throttle", "0..1x-2", "100..200x1.6"),
        ("--throttle", "200..100x2", "must end after it begins"),
        ("--throttle", "0..9x2", "0..9 s, but the trace ends at 1 s; name seconds of the trace"),
        ("--throttle", "100x2", "100..200x1.6"),
        ("--throttle", "100..200x2", "the trace ends at 1 s"),
        ("--lose", "5@0", "5 workers, but there are 4; name at most 3, so that one serves"),
        ("--lose", "4@0", "4 workers, but there are 4; name at most 3, so that one serves"),
        ("--lose", "1@99", "the trace ends at 1 s"),
        ("--lose", "all", "4@120"),
        ("--burst", "100@150..165", "the trace ends at 1 s"),
        ("--burst", "100@0..165", "0..165 s, but the trace ends at 1 s; name seconds of the trace"),
        ("--burst", "nan@0..1", "100@150..165"),
        ("--burst", "many@0..1", "100@150..165"),
        ("--burst", "-5@0..1", "100@150..165"),
        ("--burst", "1e9@0..1", "100@150..165"),
        ("--blind", "100", "100..200"),
        ("--blind", "200..100", "must end after it begins"),
        ("--blind", "100..200", "the trace ends at 1 s"),
        ("--gpus-per-worker", "8", "--gpus 4: each worker takes 8 (--gpus-per-worker); write 8 or more"),
        ("--gpus-per-worker", "0", "--gpus-per-worker"),
        ("--routers", "0", "--routers"),
        ("--clients", "50:-1", "must be numbers over 0"),
        ("--clients", "0:1", "must be numbers over 0"),
        ("--clients", "50:", "for example 50:1"),
        ("--clients", "many", "for example 50:1"),
        ("--clients", "nan", "must be numbers over 0"),
        ("--clients", "inf:1", "must be numbers over 0"),
        ("--weights", "1:2", "says nothing without --clients"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_exit_code_2(option: str, text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "trace.txt").write_text("0,1\n1000,1\n")
    fixed = ["--profile", str(EXAMPLE), "--trace", str(tmp_path / "trace.txt"), "--gpus", "4", "--slo", "6s"]
    result = CliRunner().invoke(make_app(), ["replay", *fixed, f"{option}={text}"])
    assert result.exit_code == 2
    assert words in " ".join((result.stderr + result.output).replace("│", " ").split())


@pytest.mark.parametrize(
    ("weights", "words"), [("1:1:1", "names 3 clients, but there are 2"), ("0", "1:2"), ("", "1:2")]
)
def test_weights_are_those_of_the_clients(weights: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_clients("50:1", weights)


def test_clients_are_drawn_by_their_shares_the_same_each_time() -> None:
    mix = read_clients("3:1", "2")
    draw = mix.drawn(seed=0)
    drawn = [draw() for _ in range(4000)]
    assert drawn.count("client 1") == pytest.approx(3000, rel=0.03)
    assert set(drawn) == {"client 1", "client 2"}
    again = mix.drawn(seed=0)
    assert [again() for _ in range(4000)] == drawn
    assert mix.weight_by_name == {"client 1": 2.0}
    assert read_clients(None, None).drawn(seed=0)() == ""


def test_a_flooding_client_costs_itself_alone(tmp_path: Path) -> None:
    """One GPU cannot make half of 120 requests/s."""
    (tmp_path / "trace.txt").write_text("".join(f"{i * 25 / 3:.1f}\n" for i in range(1200)))
    fixed = ["--profile", str(EXAMPLE), "--trace", str(tmp_path / "trace.txt"), "--gpus", "1", "--slo", "6s"]
    result = CliRunner().invoke(make_app(), ["replay", *fixed, "--clients", "50:1"])
    assert result.exit_code == 0, result.stderr
    rows = re.findall(r"client \d +(\d+) requests, (.*)% in time, .* refused", result.output)
    flood, small = (int(requests) * (1 - float(in_time) / 100) for requests, in_time in rows)
    assert flood > 500
    assert small < 1.5


def test_disturbances_mix_and_show_in_the_answers(tmp_path: Path) -> None:
    (tmp_path / "trace.txt").write_text("".join(f"{i * 500}\n" for i in range(40)))
    fixed = ["--profile", str(EXAMPLE), "--trace", str(tmp_path / "trace.txt"), "--gpus", "4", "--slo", "6s"]
    words = "--speed=1.2 --noise=0.1 --slow-batches=0.1x2 --slow-workers=1x2 --throttle=5..9x1.5 --lose=1@10"
    result = CliRunner().invoke(make_app(), ["replay", *fixed, *words.split(), "--burst=20@2..3", "--drift"])
    assert result.exit_code == 0, result.stderr
    requests = int(result.output.split("requests")[1].split()[0])
    assert 45 < requests < 75
    assert "calls" in result.output
