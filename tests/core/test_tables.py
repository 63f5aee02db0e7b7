"""What commands print is whole in 80 columns, on a terminal and in a pipe, with the longest names that are likely."""

from __future__ import annotations

import io
import re
from pathlib import Path

import httpx
import pytest
from documents import router_status
from hadis.api.status import PlanChange
from hadis.cli import make_app
from hadis.cli.tables import columns, console, facts
from hadis.planning.plan import Plan, TierPlan
from hadis.protocol.router_status import Latency, WorkerState
from typer.testing import CliRunner, Result

ROOT = Path(__file__).parents[2]
SCENES, PROFILE, TRACE = (
    str(ROOT / "examples" / path) for path in ("scenes.yaml", "scenes/profile.yaml", "traces/rise.txt")
)
REPLAY = ["--profile", PROFILE, "--slo", "4s"]
PLAN = Plan(
    "stable-diffusion-3-5-medium", "stable-diffusion-3-5-large", 0.8, 0.5,
    (TierPlan("stable-diffusion-3-5-medium", 2, 4), TierPlan("stable-diffusion-3-5-large", 0, 8)),
    1.0, 0.07114, 1.0, 2.0, reason="best quality: 12.1 requests/s take 14.3 of 16 GPUs' time", generation=123,
)  # fmt: skip
WORKER = WorkerState(name="worker-1", tiers=(), busy=True, tier="a", time_ratio=1.0, slow=False)
STATUS = router_status(
    plan=PLAN,
    workers=(WORKER,) * 16,
    latency=Latency(p50_s=1.5, p95_s=3.25),
    observed_rps=12.0,
    forecast_rps=14.0,
    queues={tier.tier: 10 for tier in PLAN.tiers},
    attainment=0.84,
    ended_rps={
        "answered": {"light": 4.0, "deferred": 2.0},
        "refused": {"over_share": 300.0, "queue_full": 12.0},
        "failed": {},
        "invalid": {},
        "cancelled": {"cancelled": 0.25},
    },
    changes=(PlanChange(time="2001-09-09T01:46:40Z", summary=PLAN.headline, reason=PLAN.reason),),
).json_text()


def run(words: list[str], columns: int | None) -> Result:
    return CliRunner(env={"COLUMNS": str(columns) if columns else None}).invoke(make_app(words[0]), words)


@pytest.mark.parametrize("columns", [None, 80, 40])
@pytest.mark.parametrize(
    ("words", "wholes"),
    [
        (["plan", SCENES, "--rps", "1", "--rps", "50000"], ["scenes-large-20", "0.05846", "50,000", "lower is better"]),
        (["replay", *REPLAY, "--gpus", "2"], ["lower is better", "3"]),
        (["size", *REPLAY, "--quality", "0.2"], ["lower is better", "enough"]),
        (["status"], [PLAN.light, PLAN.heavy, "0.07114 predicted (lower is better)", "84.0% (objective 95%)"]),
    ],
    ids=["plan", "replay", "size", "status"],
)
def test_what_is_printed_is_whole(
    words: list[str], wholes: list[str], columns: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = httpx.Response(200, text=STATUS, request=httpx.Request("GET", "http://router"))
    monkeypatch.setattr(httpx, "get", lambda *args, **options: answer)
    (tmp_path / "trace").write_text("0\n500\n1000\n")
    result = run([*words, "--trace", str(tmp_path / "trace")] if words[0] in ("replay", "size") else words, columns)
    assert result.exit_code == 0, result.stderr
    assert "…" not in result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    for whole in wholes:
        assert whole in result.stdout


def test_a_tier_without_workers_of_its_own_is_said_in_words() -> None:
    result = run(["plan", SCENES, "--rps", "0"], 80)
    assert "deferral 80%" in result.output
    assert re.search(r"\+ scenes-large-20 +in turn", result.output)
    assert "x0" not in result.output


def test_the_status_says_what_became_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = httpx.Response(200, text=STATUS, request=httpx.Request("GET", "http://router"))
    monkeypatch.setattr(httpx, "get", lambda *args, **options: answer)
    lines = [" ".join(line.split()) for line in run(["status"], 80).output.splitlines()]
    assert "answered 6.00 per second: light 4.00, deferred 2.00" in lines
    assert "refused 312.00 per second: over_share 300.00, queue_full 12.00" in lines
    assert "cancelled 0.25 per second: cancelled 0.25" in lines
    assert not [line for line in lines if line.startswith(("failed", "invalid"))]


def test_sizing_leaves_no_picture_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(["size", *REPLAY, "--trace", TRACE, "--quality", "0.2"], None)
    assert result.output.splitlines()[-1] == "1 GPU"
    assert list(tmp_path.iterdir()) == []


def test_long_words_are_folded_and_numbers_are_not() -> None:
    shown = io.StringIO()
    out = console()
    out.file = shown
    table = columns("number", "<text")
    table.add_row("123456789", "x" * 200)
    out.print(table)
    out.print(facts([("name", "y" * 200)]))
    text = shown.getvalue()
    assert (text.count("x"), text.count("y"), "123456789" in text) == (200 + 1, 200, True)


def test_the_shipped_trace_is_what_its_command_writes(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile((ROOT / "examples/traces/make.py").read_text(), "make.py", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out == Path(TRACE).read_text()
