"""The house rules that no linter knows."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_operator_folder_does_not_shadow_the_standard_library() -> None:
    subprocess.run([sys.executable, "-S", "-c", "import collections, operator; operator.add"], cwd=ROOT, check=True)
    assert not [folder for folder in ROOT.iterdir() if (folder / "__init__.py").exists()]
