"""Commands that need no server: `hadis plan`, and the arrivals of `hadis load`."""

from __future__ import annotations

import contextlib
import io
import json
import random
import socket
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint, PackageNotFoundError, requires
from pathlib import Path

import pytest
from hadis.cli import make_app
from hadis.cli.load import LoadRun, SentRequest, arrivals, parse_rps, summary
from hadis.cli.status import consumption_facts, difficulty_words
from hadis.planning.plan import Plan
from hadis.protocol.router_status import DifficultyScore
from packaging.requirements import Requirement
from rich.console import Console
from test_house import declared, plain
from typer.testing import CliRunner

SCENES = Path(__file__).parents[2] / "examples/scenes.yaml"


@pytest.mark.parametrize(("text", "rates"), [("4", (4, 4)), ("1..12", (1, 12)), ("0..2.5", (0, 2.5))])
def test_rates_are_read(text: str, rates: tuple[float, float]) -> None:
    assert parse_rps(text) == rates


@pytest.mark.parametrize("text", ["", "fast", "1..", "-1", "0", "0..0", "1-12"])
def test_rates_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write a rate such as 4"):
        parse_rps(text)


def test_arrivals_follow_the_ramp() -> None:
    times = arrivals(LoadRun(0, 20, 200, 4), random.Random(0))
    assert times == sorted(times)
    assert times[0] > 0 and times[-1] < 200
    early, late = (sum(a <= t < a + 100 for t in times) for a in (0, 100))
    assert len(times) == pytest.approx(2000, rel=0.1)
    assert late / early == pytest.approx(3, rel=0.2)


def test_plan_shows_one_row_per_demand_and_says_what_does_not_fit() -> None:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(make_app(), ["plan", str(SCENES), "--rps", "1", "--rps", "50000"])
    assert result.exit_code == 0, result.stderr
    assert "scenes-large-20" in result.output
    assert "need" in result.output  # more GPUs than there are, for 50,000 requests/s


def test_status_tells_what_prompts_are_scored_by_and_what_is_amiss() -> None:
    assert difficulty_words(DifficultyScore(reads="ngrams", why=None)) == "by text features and n-grams"
    assert difficulty_words(DifficultyScore(reads="features", why="profile again")) == "by text features; profile again"


@pytest.mark.parametrize("words", [["nowhere.yaml"], [str(SCENES), "--rps", "-1"]])
def test_plan_refuses_what_it_cannot_read(words: list[str]) -> None:
    result = CliRunner().invoke(make_app(), ["plan", *words])
    assert result.exit_code == 2


WITHOUT = """
import json, re, sys
from importlib.metadata import packages_distributions
kept, told = set(sys.argv[1].split(",")), json.loads(sys.argv[2])
class Blocked:
    def find_spec(self, name, path=None, target=None):
        of = packages.get(name.partition(".")[0])
        if of and not kept.intersection(re.sub("[-_.]+", "-", each).lower() for each in of):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
packages = packages_distributions()
sys.meta_path.insert(0, Blocked())
from hadis.cli import make_app
from typer.testing import CliRunner
answers = []
for words in told:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(make_app(words[0]), words)
    answers.append((result.exit_code, result.stdout, result.stderr, repr(result.exception)))
print(json.dumps(answers))
"""
"""Runs commands in a process that finds no library but those kept, and prints how each ended."""
NO_PROFILER = "needs the profiler: pip install 'hadis[profiler]'"
NO_COMPONENTS = "up needs the router and the worker: pip install 'hadis[router,worker]'"


def with_needs(names: set[str]) -> set[str]:
    """Return distributions and those that they need in turn, installed or not."""
    found, names_left = set[str](), [*names]
    while names_left:
        name = names_left.pop()
        if name not in found:
            found.add(name)
            with contextlib.suppress(PackageNotFoundError):
                needs = map(Requirement, requires(name) or ())
                names_left += [plain(each.name) for each in needs if each.marker is None or each.marker.evaluate()]
    return found


def ended(kept: set[str], *commands: list[str]) -> list[tuple[int, str, str, str]]:
    """Return exit code, stdout, stderr and exception of commands where no other distributions are than those kept."""
    words = [sys.executable, "-c", WITHOUT, ",".join({*kept, "hadis"}), json.dumps(commands)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    return [(code, out, error, repr_) for code, out, error, repr_ in json.loads(done.stdout)]


def test_a_command_whose_extra_is_missing_says_what_to_install_and_starts_nothing() -> None:
    scenes, profile = str(SCENES), str(SCENES.parent / "scenes/profile.yaml")
    trace = str(SCENES.parents[1] / "examples/traces/rise.txt")
    refused = [
        (["up", scenes], NO_COMPONENTS),
        (["profile", "run", "run.yaml", "--out", "profile.yaml"], f"profile {NO_PROFILER}"),
        (["profile", "report", profile], f"profile {NO_PROFILER}"),
        (["profile", "diff", profile, profile], f"profile {NO_PROFILER}"),
        (["replay", "--profile", profile, "--trace", trace, "--gpus", "2", "--slo", "4s"], f"replay {NO_PROFILER}"),
        (["size", "--help"], f"size {NO_PROFILER}"),
    ]
    *answers, plan, shown = ended(
        with_needs(declared("")), *(words for words, _ in refused), ["plan", scenes, "--rps", "1"], ["--help"]
    )
    assert answers == [(2, "", f"hadis: {line}\n", "SystemExit(2)") for _, line in refused]
    assert (plan[0], plan[2]) == (0, "")
    assert shown[0] == 0
    assert "Needs the profiler: pip install 'hadis[profiler]'." in shown[1]


@pytest.mark.parametrize("command", ["plan", "up"])
def test_an_objective_that_refuses_the_profile_is_one_line(command: str, tmp_path: Path) -> None:
    manifest = tmp_path / "service.yaml"
    profile = (SCENES.parent / "scenes/profile.yaml").read_text()
    service = SCENES.read_text().replace("optimize: Quality", "optimize: Energy\n    quality: 0.2")
    manifest.write_text(f"{service}\n---\n{profile}")
    with socket.create_server(("127.0.0.1", 0)) as taken:  # which would stop `hadis up` too
        port = ["--port", str(taken.getsockname()[1])] if command == "up" else []
        result = CliRunner().invoke(make_app(command), [command, str(manifest), *port])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("hadis: optimize Energy needs the joules of each batch")
    assert result.stderr.count("\n") == 1


def test_the_status_tells_energy_and_money_where_they_are_known() -> None:
    plan = Plan("light", "light", 0.0, 0.0, (), 1.0, 30.0, 0.1, 0.1)
    assert consumption_facts(plan, None) == []
    priced = replace(plan, joules_per_image=41.96, money_per_image=0.0012345)
    money = "0.00123 per image, 1.6 per hour of the GPUs that are ready"
    assert consumption_facts(priced, 1.6) == [("energy", "42 J per image predicted"), ("money", money)]
    assert consumption_facts(plan, 1.6) == [("money", "1.6 per hour of the GPUs that are ready")]


@pytest.mark.parametrize(("installed", "missing"), [("router", "worker"), ("worker", "router")])
def test_of_several_extras_only_those_that_are_missing_are_named(installed: str, missing: str) -> None:
    [(code, _, error, _)] = ended(with_needs(declared("") | declared(installed)), ["up", str(SCENES)])
    assert (code, error) == (2, f"hadis: up needs the {missing}: pip install 'hadis[{missing}]'\n")


@pytest.mark.parametrize("module", ["hadis.cli.nothing", "hadis_painter.nothing"])
def test_a_fault_of_ours_is_not_taken_for_a_missing_extra(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hadis_painter").mkdir()
    (tmp_path / "hadis_painter/__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("paint", f"{module}:paint", "hadis.commands")
    monkeypatch.setattr("hadis.cli.entry_points", lambda group: [entry])
    with pytest.raises(ModuleNotFoundError, match="nothing"):
        make_app()


def test_the_summary_of_a_load_fits_into_80_columns() -> None:
    run = LoadRun(1.0, 12.0, 1800.0, 4.0)
    run.samples = [SentRequest(at / 30, 200 if at % 3 else 504, 10.25, "deferred", "3") for at in range(54_000)]
    shown = io.StringIO()
    Console(width=80, file=shown).print(summary(run))
    text = shown.getvalue()
    assert "…" not in text
    assert "ferred" in text
    assert "1620-1800" in text
