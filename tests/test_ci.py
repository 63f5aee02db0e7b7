"""What `.ci/run` runs, and that it does not pass without the real node where that is required."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci/run"
ALL = ["test", "e2e"]
REQUIRED = {"CI": "true", "E2E": "required"}


@pytest.mark.parametrize(
    ("env", "user", "targets", "code"),
    [
        ({"CI": "true"}, 0, ALL, 0),
        (REQUIRED, 0, ALL, 0),
        (REQUIRED, 1000, ["test"], 1),
        ({"CI": "true"}, 1000, ["test"], 0),
        (REQUIRED | {"SECONDS": "2701"}, 0, ["test"], 1),
        ({"CI": "true", "SECONDS": "2701"}, 0, ["test"], 0),
    ],
)
def test_the_real_node_is_left_out_only_where_it_is_not_required(
    env: dict[str, str], user: int, targets: list[str], code: int, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    (tmp_path / "repository/.ci").mkdir(parents=True)
    script = shutil.copy(SCRIPT, tmp_path / "repository/.ci/run")
    for name, text in {"make": f'echo "$1" >> {made}', "id": f"echo {user}", "apt-get": "exit 9"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run([script], env={"PATH": path, **env}, capture_output=True, text=True, check=False, timeout=60)
    assert made.read_text().split() == targets
    assert done.returncode == code, done.stderr
    assert ("left out" in done.stdout) is (targets != ALL)
    assert ("E2E=required" in done.stderr) is (code == 1)
