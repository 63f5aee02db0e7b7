"""Commands that need no server: `hadis plan`, and the arrivals of `hadis load`."""

from __future__ import annotations

import io
import random
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest
from hadis.cli import make_app
from hadis.cli.load import LoadRun, SentRequest, arrivals, parse_rps, summary
from rich.console import Console
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
    assert "scenes-large-50" in result.output
    assert "need" in result.output  # more GPUs than there are, for 50,000 requests/s


@pytest.mark.parametrize("words", [["nowhere.yaml"], [str(SCENES), "--rps", "-1"]])
def test_plan_refuses_what_it_cannot_read(words: list[str]) -> None:
    result = CliRunner().invoke(make_app(), ["plan", *words])
    assert result.exit_code == 2


def test_a_command_whose_extra_is_missing_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "hadis_painter"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "paint.py").write_text("import a_library_that_is_not_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    entries = [
        EntryPoint("paint", "hadis_painter.paint:paint", "hadis.commands"),
        *entry_points(group="hadis.commands"),
    ]
    monkeypatch.setattr("hadis.cli.entry_points", lambda group: entries)
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(make_app(), ["--help"])
    assert "paint" in shown.output
    assert "status" in shown.output
    for words in ([], ["a file", "--slowly", "-n", "3"], ["--help"]):
        result = CliRunner().invoke(make_app(), ["paint", *words])
        assert result.exit_code == 2
        assert result.stderr == "hadis: paint needs the painter: pip install 'hadis[painter]'\n"
        assert result.stdout == ""


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
    assert "deferred" in text
    assert "1620-1800" in text
