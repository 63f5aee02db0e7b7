"""The replay: it runs the router's own code, judges what was done, and says what is wrong with its inputs."""

from __future__ import annotations

import asyncio
import csv
import random
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from documents import profile_document
from hadis.api.compact import content_hash
from hadis.api.difficulty import NgramScore
from hadis.api.manifest import read_profile
from hadis.api.resources import CascadeProfile, ServiceSpec
from hadis.cli import make_app
from hadis.planning.decide import Decision
from hadis.planning.memory import Memory
from hadis.planning.plan import Plan, TierPlan
from hadis.planning.profile import Profile
from hadis.planning.snapshot import DemandReading, Snapshot
from hadis.planning.tuning import Tuning
from hadis.protocol.labels import EVERY_TIER
from hadis.protocol.run_state import WorkerAddress
from hadis_profiler.commands.size import fewest_workers
from hadis_profiler.paper.profile import build
from hadis_profiler.replay.disturbances import BatchFactors, Disturbances
from hadis_profiler.replay.inputs import ReplayInputError, ScoredPrompts, drawn_prompts, read_prompts, read_trace
from hadis_profiler.replay.only import read_only
from hadis_profiler.replay.policies import PLAN_EVERY_S, POLICIES, Hadis, Making
from hadis_profiler.replay.quality import Grid, OutcomeTally
from hadis_profiler.replay.setting import Setting
from hadis_profiler.replay.simulate import Outcome, replay
from hadis_profiler.replay.sizes import read_sizes
from hadis_profiler.replay.transport import TableTransport
from hadis_router.dispatch.dispatcher import Dispatcher
from hadis_router.dispatch.image_params import ImageParams
from hadis_router.dispatch.job import Job
from typer.testing import CliRunner
from virtual import virtual

PAPER = Path(__file__).parents[3] / "shared/data/paper"
EXAMPLE = Path(__file__).parents[2] / "examples/paper/profile.yaml"


def poisson(rate: float, seconds: float, seed: int = 0) -> list[tuple[float, int]]:
    rng, at, found = random.Random(seed), 0.0, []
    while (at := at + rng.expovariate(rate)) < seconds:
        found.append((at, rng.randrange(1000)))
    return found


def setting_for(profile: Profile, *, shared: bool = True, change_cost_s: float = 0.0, least: int = 4) -> Setting:
    """Return four GPUs under an objective of 4 s."""
    placement = "Shared" if shared else "Dedicated"
    gpus = {"min": least, "max": 4}
    spec = ServiceSpec.read({"profile": "two", "objective": {"latency": "4s"}, "gpus": gpus, "placement": placement})
    return Setting(profile, spec, change_cost_s)


def run(setting: Setting, trace: Iterable[tuple[float, int]]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    policy = Hadis(setting.profile, Tuning(), PLAN_EVERY_S)
    replay(setting, policy, trace, drawn_prompts(setting.profile, 0, 1000), outcomes.append)
    return outcomes


@pytest.mark.parametrize(("shared", "least"), [(True, 4), (False, 4), (False, 0)])
def test_every_request_ends_once_and_in_time(profile: Profile, shared: bool, least: int) -> None:
    trace = poisson(5, 120)
    outcomes = run(setting_for(profile, shared=shared, change_cost_s=2.0, least=least), iter(trace))
    assert sorted(o.arrival_s for o in outcomes) == [at for at, _ in trace]
    late = [o for o in outcomes if o.answered_s is None or o.answered_s - o.arrival_s > 4]
    grown_s = 0.0 if least else 10.0  # until then there are too few pods: nobody was there to serve
    assert sum(o.arrival_s >= grown_s for o in late) <= 0.01 * len(trace)
    assert {"light", "heavy"} <= {o.how for o in outcomes}


def test_overload_falls_back_to_light_and_refuses_only_what_nobody_could_serve(profile: Profile) -> None:
    outcomes = run(setting_for(profile), iter(poisson(30, 60)))
    assert sum(o.answered_s is not None for o in outcomes) > 0.95 * len(outcomes)
    late = run(setting_for(profile), iter(poisson(90, 30)))  # 40 requests/s is all that four workers can do
    answered = [o for o in late if o.answered_s is not None]
    assert 0.3 * len(late) < len(answered) < 0.7 * len(late)
    assert all(o.answered_s is not None and o.answered_s - o.arrival_s <= 4 + 1e-6 for o in answered)


def test_a_replay_keeps_the_better_of_two_images_and_judges_quality_by_that_way(profile: Profile) -> None:
    document = profile_document()
    plain = document["spec"]["configurations"][:25]
    better = [row | {"bestOfTwo": True, "quality": row["quality"] - (row["deferralRatio"] > 0)} for row in plain]
    document["spec"]["configurations"] += better
    profile = Profile(CascadeProfile.read(document))
    tiers = TierPlan("light", 2, 2), TierPlan("heavy", 2, 2)
    plan = Plan("light", "heavy", 0, 0.5, tiers, 2, 25, 0, 0, best_of_two=True)
    outcomes: list[Outcome] = []
    prompts = drawn_prompts(profile, 0, 1000)
    replay(setting_for(profile), Fixed(plan), iter(poisson(2, 60)), prompts, outcomes.append)
    deferred = [o for o in outcomes if o.how in ("deferred", "better-light")]
    assert {o.how for o in deferred} == {"deferred", "better-light"}
    assert all(o.best_of_two and o.final == "heavy" for o in deferred)
    judge = OutcomeTally(profile, 4.0, block=4)
    for i, how in enumerate(("light", "light", "deferred", "better-light")):
        final = "light" if how == "light" else "heavy"
        judge.add(Outcome(i, i + 1.0, "light", "heavy", "light", final, how, best_of_two=how != "light"))
    [measured] = [row["quality"] for row in better if (row["directRatio"], row["deferralRatio"]) == (0, 0.5)]
    assert judge.summary().quality == pytest.approx(measured)


def test_a_replay_is_the_same_each_time(profile: Profile) -> None:
    trace = poisson(5, 60)
    assert run(setting_for(profile), iter(trace)) == run(setting_for(profile), iter(trace))


@virtual
async def test_a_cancelled_batch_keeps_its_worker_until_its_next_step() -> None:
    document = profile_document()
    document["spec"]["tiers"][1]["steps"] = 3  # and what comes after them counts as one: four of 0.25 s
    profile = Profile(CascadeProfile.read(document))
    transport = TableTransport(profile, drawn_prompts(profile, 0, 10), BatchFactors(Disturbances()))
    loop = asyncio.get_running_loop()
    job = Job("a", ImageParams("", 0), 0.0, 4.0, loop.create_future(), client="")
    task = asyncio.ensure_future(transport.generate("w0", "heavy", [job], False, 9.0, lambda progress: None))
    await asyncio.sleep(0.3)
    task.cancel()
    await transport.until_free("w0")
    assert loop.time() == pytest.approx(0.5)
    assert transport.busy_s == pytest.approx(0.5)


@virtual
async def test_the_replay_decides_as_the_router_does() -> None:
    """The same requests handed to a Dispatcher by hand, as the API does, get the same first tier and answer."""
    profile = Profile(CascadeProfile.read(profile_document()))
    prompts, trace = drawn_prompts(profile, 0, 1000), poisson(4, 60)
    plan = Plan("light", "heavy", 0.25, 0.25, (TierPlan("light", 2, 2), TierPlan("heavy", 2, 2)), 4, 25, 0, 0)
    dispatcher = Dispatcher(
        profile, TableTransport(profile, prompts, BatchFactors(Disturbances())), slo_s=4.0, queue_limit=100_000
    )
    dispatcher.set_plan(plan)
    dispatcher.set_workers(WorkerAddress(f"w{i}", ("light", "heavy")) for i in range(4))
    loop = asyncio.get_running_loop()
    jobs: list[Job] = []
    for at, prompt in trace:
        await asyncio.sleep(at - loop.time())
        job = Job(str(len(jobs)), ImageParams("", prompt), at, at + 4, loop.create_future(),
                  difficulty=float(prompts.difficulty[prompt]), client="a")  # fmt: skip
        dispatcher.submit(job)
        jobs.append(job)
    answers = await asyncio.gather(*(job.future for job in jobs))
    live = [(j.arrived, j.first_tier, a.path, a.latency_s) for j, a in zip(jobs, answers, strict=True)]

    def replayed() -> list[Outcome]:
        found: list[Outcome] = []
        replay(setting_for(profile), Fixed(plan), iter(trace), prompts, found.append)
        return found

    outcomes = sorted(await asyncio.get_running_loop().run_in_executor(None, replayed), key=lambda o: o.arrival_s)
    again = [(o.arrival_s, o.first, o.how, (o.answered_s or 0) - o.arrival_s) for o in outcomes]
    assert [row[:3] for row in again] == [row[:3] for row in live]
    assert [row[3] for row in again] == pytest.approx([row[3] for row in live])


class Fixed:
    """A policy that never changes its mind."""

    every_s, wakes = 1.0, False

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def decide(self, snapshot: Snapshot, memory: Memory) -> Decision:
        return Decision(memory, (), planned=True, plan=self._plan, replicas={EVERY_TIER: 4})


def with_remote_heavy(slots: int) -> Profile:
    document = profile_document()
    document["spec"]["tiers"][1] |= {"remote": {"url": "http://engine/v1", "slots": slots}, "tunable": False}
    return Profile(CascadeProfile.read(document))


@pytest.mark.parametrize("shared", [True, False])
def test_slots_make_heavy_images_and_gpus_the_others(shared: bool) -> None:
    trace = poisson(10, 120)
    outcomes = run(setting_for(with_remote_heavy(3), shared=shared), iter(trace))
    assert len(outcomes) == len(trace)
    late = [o for o in outcomes if o.answered_s is None or o.answered_s - o.arrival_s > 4]
    assert len(late) <= 0.01 * len(trace)
    heavy = sum(o.final == "heavy" for o in outcomes) / 120
    assert 2.0 < heavy <= 3.05, "images per second, of the three that the slots can make"


def test_a_policy_that_knows_no_slots_says_so() -> None:
    assert POLICIES["random-mix"](Making(with_remote_heavy(1), 4.0))
    with pytest.raises(ValueError, match="knows no tiers that endpoints make"):
        POLICIES["proteus"](Making(with_remote_heavy(1), 4.0))


@pytest.mark.parametrize("name", list(POLICIES))
def test_every_policy_runs_on_both_placements(name: str, profile: Profile) -> None:
    prompts = drawn_prompts(profile, 0, 1000)
    for shared in (True, False):
        named = POLICIES[name](Making(profile, 4.0))
        judge = OutcomeTally(profile, 4.0)
        setting = setting_for(profile, shared=shared, change_cost_s=1.0)
        replay(setting, named.policy, iter(poisson(2, 30)), prompts, judge.add, named.score)
        summary = judge.summary()
        assert summary.requests > 30
        assert 20 < summary.quality <= 30


def test_quality_is_bilinear_between_rows(profile: Profile) -> None:
    grid = Grid(profile)
    assert grid.quality("light", "heavy", 0.25, 0.0) == pytest.approx(28)
    assert grid.quality("light", "heavy", 0.125, 0.0) == pytest.approx(29)
    assert grid.quality("heavy", "heavy", 0, 0) == 21
    assert np.isnan(grid.quality("heavy", "light", 0, 0))


def test_the_judge_counts_what_was_done(profile: Profile) -> None:
    judge = OutcomeTally(profile, 4.0, block=4)
    for i, (answered, first, final) in enumerate(
        [(1.0, "heavy", "heavy"), (9.0, "light", "light"), (None, "light", ""), (2.0, "light", "heavy")]
    ):
        judge.add(Outcome(i / 10, answered, "light", "heavy", first, final, "x"))
    summary = judge.summary()
    assert (summary.requests, summary.violations, summary.unanswered) == (4, 0.5, 0.25)
    assert summary.quality == pytest.approx(Grid(profile).quality("light", "heavy", 1 / 3, 0.5))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no arrivals"),
        ("1,2\nx,3\n", "line 2: 'x,3' is not arrival_ms,prompt_index"),
        ("-5,1\n", "line 1: the arrival '-5' must be 0 ms or later"),
        ("nan,1\n", "must be 0 ms or later"),
        ("20000,1\n1000,1\n", "line 2: arrives 19.0 s before a line above; sort it"),
        ("1,99\n", "line 1: prompt 99 is not among the 10"),
        ("1,-1\n", "prompt -1"),
    ],
)
def test_a_bad_trace_is_one_clear_line(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text(text)
    with pytest.raises(ReplayInputError, match=words.replace("(", r"\(")):
        list(read_trace(path, 10))


def test_features_alone_are_refused_where_the_profile_scores_by_ngrams_too(profile: Profile, tmp_path: Path) -> None:
    spec = profile.resource.spec
    ngrams = NgramScore.of(1.0, {}, 0.0, (-1.0, 1.0))
    scored = spec.model_copy(update={"difficulty": spec.difficulty.model_copy(update={"ngrams": ngrams})})
    profile = Profile(profile.resource.model_copy(update={"spec": scored}))
    with pytest.raises(ReplayInputError, match=r"take `difficulty\.ngrams` out of a copy of the profile"):
        read_prompts(tmp_path, profile)
    assert np.abs(drawn_prompts(profile, 0).difficulty).max() <= 1


def test_a_trace_out_of_order_by_little_is_put_in_order(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text("2000,1\n1000,2\n\n3000\n")
    assert list(read_trace(path, 10, stretch=2)) == [(2.0, 2), (4.0, 1), (6.0, 2)]


def test_the_fewest_workers_are_found_with_few_runs() -> None:
    asked: list[int] = []

    def enough(gpus: int) -> bool:
        asked.append(gpus)
        return gpus >= 11

    assert fewest_workers(enough, 64) == 11
    assert len(asked) <= 8
    assert fewest_workers(lambda gpus: False, 16) is None
    assert fewest_workers(lambda gpus: True, 16) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--gpus": "0"}, "--gpus"),
        ({"--slo": "0s"}, "must be longer than nothing"),
        ({"--slo": "fast"}, "is no duration"),
        ({"--trace": "missing.txt"}, "missing.txt"),
        ({"--profile": "missing.yaml"}, "missing.yaml"),
        ({"--prompts": "nowhere"}, "prompt_features.csv"),
        ({"--policy": "best"}, "best"),
    ],
)
def test_the_command_refuses_what_it_cannot_do(changes: dict[str, str], words: str, tmp_path: Path) -> None:
    result = invoke_replay(tmp_path, "1000,1\n", changes)
    assert result.exit_code == 2
    assert words in result.stderr + result.output


def invoke_replay(tmp_path: Path, trace: str, changes: dict[str, str]):  # type: ignore[no-untyped-def]  # click's Result
    (tmp_path / "trace.txt").write_text(trace)
    options = {"--profile": str(EXAMPLE), "--trace": str(tmp_path / "trace.txt"), "--gpus": "4", "--slo": "6s"}
    return CliRunner().invoke(make_app(), ["replay", *(w for pair in (options | changes).items() for w in pair)])


def test_the_command_replays_one_request_and_writes_log_and_picture(tmp_path: Path) -> None:
    log, plot = tmp_path / "log.csv", tmp_path / "plot.png"
    result = invoke_replay(tmp_path, "1000,1\n", {"--log": str(log), "--plot": str(plot)})
    assert result.exit_code == 0, result.stderr
    assert "requests    1" in result.output
    rows = list(csv.DictReader(log.read_text().splitlines()))
    assert len(rows) == 1
    assert float(rows[0]["answered_s"]) > float(rows[0]["arrival_s"]) == 1.0
    assert plot.stat().st_size > 10_000


def test_size_finds_and_draws(tmp_path: Path) -> None:
    trace, plot = tmp_path / "trace.txt", tmp_path / "size.png"
    trace.write_text("".join(f"{at * 1e3:.0f},{prompt}\n" for at, prompt in poisson(4, 40)))
    words = ["size", "--profile", str(EXAMPLE), "--trace", str(trace), "--slo", "6s", "--plot", str(plot)]
    result = CliRunner().invoke(make_app(), [*words, "--quality", "21"])
    assert result.exit_code == 0, result.stderr
    assert "GPUs; picture" in result.output
    assert plot.stat().st_size > 10_000
    two = CliRunner().invoke(make_app(), [*words, "--quality", "21", "--gpus-per-worker", "2"])
    fewest, by_twos = (int(re.findall(r"^(\d+) GPUs?", output, re.M)[-1]) for output in (result.output, two.output))
    assert by_twos == 2 * fewest, "of workers that are as fast, and take two each"
    mix = "1024x1024=0.6,1536x1024=0.4"
    result = CliRunner().invoke(make_app(), [*words, "--quality", "5", "--max-gpus", "4", "--sizes", mix])
    assert result.exit_code == 2
    assert "4 GPUs do not reach quality 5" in result.stderr


MIX = "32x32=0.6,48x32=0.2,32x48=0.2"
"""A mean of 1.2 times the time of the first."""


@pytest.mark.parametrize("shared", [True, False])
def test_mixed_sizes_keep_the_objective_as_one_does(profile: Profile, shared: bool) -> None:
    """The same work arrives: 6 requests/s of the first size, or 5 of the mix."""
    one = setting_for(profile, shared=shared)
    mix = read_sizes(MIX)
    mixed = replace(one, profile=mix.known_by(profile), sizes=mix)
    for setting, rate in ((one, 6.0), (mixed, 5.0)):
        outcomes = run(setting, iter(poisson(rate, 200)))
        late = [o for o in outcomes if o.answered_s is None or o.answered_s - o.arrival_s > 4]
        # The first GPUs are placed for no demand; until some have moved, dedicated ones are too slow for this one.
        assert sum(o.arrival_s >= 5 for o in late) <= 0.002 * len(outcomes)
        assert "heavy" in {o.how for o in outcomes}


def test_a_profile_without_sizes_makes_those_of_the_mix_and_one_with_them_its_own(profile: Profile) -> None:
    known = read_sizes("auto=1,64x32=1").known_by(profile)
    assert known.tiers["light"].all_sizes == ("32x32", "64x32")
    assert known.latency_s("light", 1, size="64x32") == 0.2
    with pytest.raises(ValueError, match="no tier of the profile makes 9x9; they make 32x32, 64x32"):
        read_sizes("9x9=1").known_by(known)


def test_a_size_takes_its_time_and_is_told_apart(profile: Profile) -> None:
    took = {}
    for size in ("32x32", "64x32"):
        mix = read_sizes(f"{size}=1")
        [outcome] = run(replace(setting_for(profile), profile=mix.known_by(profile), sizes=mix), iter([(0.0, 1)]))
        took[outcome.size] = outcome.answered_s
    assert took == {"auto": pytest.approx(1.0), "64x32": pytest.approx(2.0)}


@pytest.mark.parametrize("text", ["", "1024x1024", "1024=1", "1024x1024=0", "1024x1024=nan", "a=1", "8x8=1,8x8=2"])
def test_sizes_that_cannot_be_meant_are_one_line(text: str, tmp_path: Path) -> None:
    result = invoke_replay(tmp_path, "0,0\n", {"--sizes": text})
    assert result.exit_code == 2
    assert "--sizes" in result.stderr


class Unaware:
    """Our control step, told nothing of requests that one tier alone may make."""

    def __init__(self, policy: Hadis) -> None:
        self._policy, self.every_s, self.wakes = policy, policy.every_s, policy.wakes

    def decide(self, snapshot: Snapshot, memory: Memory) -> Decision:
        if isinstance(snapshot.reading, DemandReading):
            snapshot = replace(snapshot, reading=replace(snapshot.reading, restricted={}))
        return self._policy.decide(snapshot, memory)


def test_a_mix_with_requests_that_the_heavy_tier_alone_may_make_has_the_gpus_for_them(profile: Profile) -> None:
    objective = {"latency": "4s", "optimize": "Cost", "quality": 30.0}
    gpus = {"min": 1, "max": 6}
    spec = ServiceSpec.read({"profile": "two", "objective": objective, "gpus": gpus, "placement": "Shared"})
    setting, late = Setting(profile, spec, 2.0, only=read_only("heavy=0.3", profile.tiers)), {}
    for aware in (True, False):
        policy, outcomes = Hadis(profile, Tuning(), PLAN_EVERY_S), list[Outcome]()
        asking = policy if aware else Unaware(policy)
        replay(setting, asking, iter(poisson(4, 120)), drawn_prompts(profile, 0, 1000), outcomes.append)
        settled = [o for o in outcomes if o.arrival_s > 60]
        late[aware] = sum(o.answered_s is None or o.answered_s - o.arrival_s > 4 for o in settled) / len(settled)
    assert late[True] <= 0.01
    assert late[False] > 0.05, "else the mix says nothing"


def test_who_may_make_a_request_is_drawn_in_shares(profile: Profile) -> None:
    drawn = read_only("heavy=0.3,light=0.1", profile.tiers).drawn(0)
    counts = Counter(drawn() for _ in range(10_000))
    assert {tier: round(count / 10_000, 1) for tier, count in counts.items()} == {None: 0.6, "heavy": 0.3, "light": 0.1}
    assert read_only(None, profile.tiers).drawn(0)() is None


@pytest.mark.parametrize(
    "text", ["", "heavy", "heavy=0", "heavy=nan", "gone=0.5", "heavy=0.7,light=0.7", "heavy=.1,heavy=.1"]
)
def test_shares_of_tiers_that_cannot_be_meant_are_one_line(text: str, tmp_path: Path) -> None:
    result = invoke_replay(tmp_path, "0,0\n", {"--only": text})
    assert result.exit_code == 2
    assert "--only" in result.stderr


@pytest.mark.skipif(not PAPER.is_dir(), reason="the paper's data is not here")
@pytest.mark.parametrize(("name", "quality"), [("1to20", 20.41), ("1to64", 23.08)])
def test_the_papers_traces_are_served_better_than_by_the_fluid_optimum_of_its_rows(name: str, quality: float) -> None:
    profile = Profile(read_profile(EXAMPLE))
    prompts: ScoredPrompts = read_prompts(PAPER, profile)
    gpus = {"min": 16, "max": 16}
    spec = ServiceSpec.read({"profile": "paper", "objective": {"latency": "6s"}, "gpus": gpus, "placement": "Shared"})
    judge = OutcomeTally(profile, 6.0)
    trace = read_trace(PAPER / f"traces/trace_{name}qps.txt", len(prompts))
    replay(Setting(profile, spec), Hadis(profile, Tuning(), PLAN_EVERY_S), trace, prompts, judge.add)
    summary = judge.summary()
    assert summary.quality < quality
    assert summary.violations < 0.0005


def test_the_example_profile_is_the_one_that_is_built() -> None:
    if not PAPER.is_dir():
        pytest.skip("the paper's data is not here")
    assert content_hash(read_profile(EXAMPLE)) == content_hash(build(PAPER))
