"""`hadis profile run` on real models: killed in the middle, gone on with, and its profile served."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from hadis.api.manifest import read_profile

ROOT = Path(__file__).parents[2]
SPEC = """
name: small
models: {models}
prompts: {models}/prompts.txt
count: 80
tiers:
- {{name: one, model: small, steps: 1, guidance: 1.0, size: 32x32, dtype: float32}}
- {{name: eight, model: large, steps: 8, guidance: 1.5, size: 32x32, dtype: float32}}
device: cpu
batches: [1, 2, 4]
secondsPerPoint: 500ms
scorer: hadis_profiler.scenes.scorer:SceneScorer
discriminator: {{rounds: 2}}
grid: 5
bootstrap: 4
"""


def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    spec, work, out = tmp_path / "spec.yaml", tmp_path / "work", tmp_path / "out" / "profile.yaml"
    out.parent.mkdir()
    spec.write_text(SPEC.format(models=ROOT / "examples/scenes"))
    hadis = Path(sys.executable).parent / "hadis"
    command = [str(hadis), "profile", "run", str(spec), "--work", str(work), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while len(list((work / "images").rglob("[0-9]*.png"))) < 20:
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in (work / "images").rglob("[0-9]*.png")}
    assert len(before) < 160
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    after = {path: path.stat().st_mtime_ns for path in (work / "images").rglob("[0-9]*.png")}
    assert len(after) == 160
    assert before.items() <= after.items()  # none was made twice
    profile = read_profile(out)
    assert len(profile.spec.configurations) in (2 + 25, 2 + 2 * 25), "with or without the better of two images"
    assert [tier.negative_prompts for tier in profile.spec.tiers] == [False, True]
    assert (out.parent / "discriminator/model.safetensors").exists()
    assert "difficulty: rank correlation" in done.stdout
    command = [str(hadis), "profile", "report", str(out), "--out", str(tmp_path / "r.html")]
    report = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert report.returncode == 0, report.stderr
    assert "Prompts on which the tiers differ most" in (tmp_path / "r.html").read_text()


def test_what_cannot_be_measured_is_one_line(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC.format(models=ROOT / "examples/scenes").replace("model: small", "model: missing-model"))
    hadis = Path(sys.executable).parent / "hadis"
    command = [str(hadis), "profile", "latency", str(spec), "--work", str(tmp_path / "w")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "missing-model" in done.stderr.strip().splitlines()[-1]
