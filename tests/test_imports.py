"""What processes and commands import as they start: what they do not need is not waited for."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

COMMAND = "from hadis.cli import make_app; make_app({!r})"
ENCODE = """
import sys
from hadis_worker.encode import encode
from hadis_worker.libraries import import_libraries
from PIL import Image
import_libraries()
before = set(sys.modules)
for name in ("png", "jpeg", "webp"):
    encode(Image.new("RGB", (8, 8)), name, 90)
assert set(sys.modules) == before, "an answer waits for an import"
"""
HEAVY = {
    "worker": (
        "import hadis_worker.__main__, hadis_worker.app",
        {"torch", "diffusers", "transformers", "opentelemetry.sdk"},
    ),
    "router": ("import hadis_router.__main__", {"torch", "kubernetes", "opentelemetry.sdk", "pandas", "scipy"}),
    "operator": ("import hadis_operator", {"torch", "pandas", "scipy"}),
    "hadis up": (COMMAND.format("up"), {"hadis_profiler", "hadis_router", "kubernetes", "torch"}),
    "hadis status": (COMMAND.format("status"), {"hadis_profiler", "hadis_router", "kubernetes", "torch"}),
    "hadis --help": (COMMAND.format("--help"), {"kubernetes", "matplotlib", "torch"}),
    "models": (ENCODE, {"matplotlib", "pandas", "scipy", "sklearn", "hadis_profiler"}),
}


@pytest.mark.parametrize(("code", "heavy"), HEAVY.values(), ids=HEAVY)
def test_what_is_not_needed_is_not_imported(code: str, heavy: set[str]) -> None:
    show = f"{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True).stdout
    assert heavy & set(json.loads(output)) == set()
