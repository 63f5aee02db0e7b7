"""The alerts on the objective, by Prometheus' own unit tests of rules: when they fire, for whom, and when not."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from binaries import binary
from control_plane import CHART
from headings import anchor

ALERTS = (Path(__file__).parents[2] / "docs/alerts.md").read_text("utf-8")
BASE = "https://docs.example.com/hadis"
LABELS = 'namespace="team", hadis_service="images"'
FAST, SLOWLY = "HadisObjectiveBurnsFast", "HadisObjectiveBurnsSlowly"


def rules() -> dict[str, Any]:
    values = ["--set", "prometheus.rules=true", "--set", f"prometheus.runbooks={BASE}"]
    command = [str(binary("helm")), "template", "x", str(CHART), *values, "-s", "templates/prometheusrule.yaml"]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    spec: dict[str, Any] = yaml.safe_load(text)["spec"]
    return spec


def counter(rates: list[tuple[int, float]]) -> str:
    """Return a counter in promtool's words, sampled as `EVERY` says: for so many minutes, so many more per minute."""
    parts, value = ["0"], 0.0
    for minutes, per_minute in rates:
        step, count = per_minute * EVERY, minutes // EVERY
        parts.append(f"{value + step:g}+{step:g}x{count - 1}")
        value += step * count
    return " ".join(parts)


def series(router: str, attainment: float, misses: list[tuple[int, float]], per_minute: float = 100) -> list[Any]:
    """Return what one router counts: of `per_minute` images, a share misses the objective for so many minutes each."""
    labels, total = f'{LABELS}, instance="{router}"', sum(minutes for minutes, _ in misses)
    late = [(minutes, share * per_minute) for minutes, share in misses]
    in_time = [(minutes, (1 - share) * per_minute) for minutes, share in misses]
    name = "hadis_router_objective_images_total"
    return [
        {"series": f'{name}{{in_time="false", {labels}}}', "values": counter(late)},
        {"series": f'{name}{{in_time="true", {labels}}}', "values": counter(in_time)},
        {"series": f"hadis_router_objective_attainment{{{labels}}}", "values": f"{attainment:g}x{total // EVERY}"},
    ]


DAY = 24 * 60
EVERY = 2
"""Minutes between samples; rules are evaluated every tenth, as they look far back."""
CASES: dict[str, tuple[float, list[tuple[int, float]], set[str]]] = {
    "all is well": (0.99, [(DAY, 0.005)], set()),
    "a burst of minutes": (0.99, [(DAY, 0), (6, 0), (4, 1.0)], set()),
    "an hour at twenty times": (0.99, [(DAY, 0), (60, 0.2)], {"1h"}),
    "it is over": (0.99, [(DAY, 0), (60, 0.2), (10, 0)], set()),
    "six hours at seven times": (0.99, [(DAY, 0), (6 * 60, 0.07)], {"6h", "3d"}),
    "a day at four times": (0.99, [(2 * DAY, 0), (DAY, 0.04)], {"1d", "3d"}),
    "three days at 1.5 times": (0.99, [(4 * DAY, 0.015)], {"3d"}),
    "the same under a looser objective": (0.95, [(DAY, 0), (60, 0.2)], set()),
    "a loose objective is told of, too": (0.9, [(DAY, 0), (60, 1.0)], {"1h"}),
}
"""Attainment, shares of images that miss it for so many minutes, and the windows of the alerts that fire at the end."""
QUIET: dict[str, tuple[float, list[tuple[int, float]], set[str]]] = {
    "one image of three in an hour": (3, [(DAY, 0), (60, 1 / 3)], set()),
    "nine images of thirty": (30, [(DAY, 0), (60, 0.3)], set()),
    "twelve images of thirty": (30, [(DAY, 0), (60, 0.4)], {"1h", "6h", "3d"}),
    "all of few, for long": (3, [(DAY, 0), (6 * 60, 1.0)], {"6h", "1d", "3d"}),
}
"""The same with images per hour in place of the attainment, which is 0.99."""


def test_burn_alerts_fire_by_the_services_own_objective(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules()))
    # A second router counts next to nothing: the share is that of all images.
    cases = {
        name: (series("a", attainment, misses) + series("b", attainment, misses, per_minute=1), misses, windows)
        for name, (attainment, misses, windows) in CASES.items()
    }
    cases |= {
        name: (series("a", 0.99, misses, per_hour / 60), misses, windows)
        for name, (per_hour, misses, windows) in QUIET.items()
    }
    tests = []
    for name, (sampled, misses, windows) in cases.items():
        ends = sum(minutes for minutes, _ in misses)
        query = 'count by (window) (ALERTS{alertname=~"HadisObjectiveBurns.*", hadis_service="images"})'
        expected = [{"labels": f'{{window="{window}"}}', "value": 1} for window in sorted(windows)]
        tests.append({
            "name": name,
            "interval": f"{EVERY}m",
            "input_series": sampled,
            "promql_expr_test": [{"expr": query, "eval_time": f"{ends}m", "exp_samples": expected}],
        })  # fmt: skip
    document = {"rule_files": ["rules.yml"], "evaluation_interval": "10m", "tests": tests}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(document))
    command = [str(binary("promtool")), "test", "rules", str(tmp_path / "tests.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def alerts() -> list[dict[str, Any]]:
    return [rule for group in rules()["groups"] for rule in group["rules"] if "alert" in rule]


def test_every_alert_links_to_its_section() -> None:
    headings = {anchor(line[3:]) for line in ALERTS.splitlines() if line.startswith("## ")}
    links = {rule["annotations"]["runbook_url"] for rule in alerts()}
    assert links == {f"{BASE}/alerts/#{heading}" for heading in headings}
    assert all(rule["annotations"]["runbook_url"].endswith(f"#{anchor(rule['alert'])}") for rule in alerts())


@pytest.mark.parametrize(("name", "severity"), [(FAST, "critical"), (SLOWLY, "warning")])
def test_a_section_says_how_severe_its_alert_is(name: str, severity: str) -> None:
    assert {rule["labels"]["severity"] for rule in alerts() if rule["alert"] == name} == {severity}
    section = ALERTS.split(f"\n## {name}\n", 1)[1]
    assert section.lstrip().startswith(f"**{severity.capitalize()}.**")
