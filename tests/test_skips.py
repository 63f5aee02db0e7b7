"""Skips are failures in CI, and only there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest
def test_passes(): pass
def test_skips(): pytest.skip("no browser")
@pytest.mark.skip(reason="no GPU")
def test_is_marked(): pass
@pytest.mark.skipif(True, reason="the paper's data is not here")
def test_may_be_skipped(): pass
@pytest.mark.xfail(strict=True)
def test_is_expected_to_fail(): assert False
@pytest.fixture
def browser(): pytest.skip("no browser either")
def test_has_no_browser(browser): pass
"""
MODULE = 'import pytest\npytest.importorskip("a_module_that_is_nowhere")\n'


@pytest.mark.parametrize(
    ("ci", "summary", "code"), [("true", "1 failed, 1 passed, 1 skipped, 1 xfailed, 3 errors", 1), ("", "1 passed", 0)]
)
def test_a_skip_is_a_failure_in_ci(ci: str, summary: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_module.py").write_text(MODULE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "skips",
        "-p",
        "no:cacheprovider",
        "--continue-on-collection-errors",
    ]
    # Without what other plugins import, which is most of its time.
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, done.stdout
    assert summary in done.stdout.splitlines()[-1]
