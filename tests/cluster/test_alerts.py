"""The chart's alerts, with Prometheus' own parser: every expression is right, and of metrics that exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import yaml
from binaries import binary
from control_plane import CHART, ControlPlane, free_port, wait_for

ROOT = Path(__file__).parents[2]


def test_alerts_are_loaded_and_of_our_metrics(plane: ControlPlane, tmp_path: Path) -> None:
    text = plane.helm("template", "x", str(CHART), "--set", "prometheus.rules=true").stdout
    rules = next(d for d in yaml.safe_load_all(text) if d and d["kind"] == "PrometheusRule")["spec"]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    (tmp_path / "prometheus.yml").write_text("rule_files: [rules.yml]\n")
    port = free_port()
    process = subprocess.Popen(
        [
            str(binary("prometheus")),
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr
        lines = []

        def ready() -> bool:
            assert process.stderr
            lines.append(process.stderr.readline())
            return "Server is ready" in lines[-1] or process.poll() is not None

        wait_for(ready, 20, "Prometheus")
        assert process.poll() is None, "".join(lines[-5:])
    finally:
        process.kill()
        process.communicate()
    metrics = (ROOT / "docs/reference/metrics.md").read_text()  # a test holds that they are the code's
    for rule in [rule for group in rules["groups"] for rule in group["rules"]]:
        for name in re.findall(r"hadis_(?:router|operator)_\w+", rule["expr"]):
            assert re.sub(r"_bucket$", "", name) in metrics, f"{rule}: {name}"
