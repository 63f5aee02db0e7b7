"""Write docs/models.md; `make models` calls it, with `tests` and `tests/worker` in the path."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from tiny_models import TinyModels

from families.catalogue import FAMILIES
from families.measure import measure
from families.page import page


def main(root: Path) -> None:
    """Measure every family and write the page."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        models, findings = TinyModels(Path(folder)), {}
        for family in FAMILIES:
            findings[family.name] = measure(family, models, Path(folder) / "linked")
            print(family.title, findings[family.name], flush=True)
    (root / "docs/models.md").write_text(page(findings), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
