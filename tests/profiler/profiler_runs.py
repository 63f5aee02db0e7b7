"""Specs, prompts and a small CLIP for the tests of the profiler's stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from hadis_profiler.offline.spec import Run, RunSpec
from numpy.typing import NDArray

DATA = Path(__file__).parents[3] / "shared/data/paper"
"""The paper's public data, which some machines have."""
TIERS = [{"name": "a", "model": "x", "steps": 1}, {"name": "b", "model": "x", "steps": 9}]


def run_of(folder: Path, prompts: str = "prompts.txt", **changes: Any) -> Run:
    """Return a run of two tiers in a folder."""
    spec = {"name": "test", "prompts": prompts, "tiers": TIERS, "scorer": "inception", **changes}
    return Run(RunSpec.read(spec), folder, folder / "work")


def many_prompts(count: int = 60) -> list[str]:
    """Return distinct prompts, more than the least that a run takes."""
    return [f"a picture of {i} cats" for i in range(count)]


def frechet(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the Fréchet distance of features (n, d) as Gaussians, straight from Heusel et al. 2017, equation 6."""
    mean, cov_a, cov_b = a.mean(0) - b.mean(0), np.cov(a.T), np.cov(b.T)
    # The trace of the square root of a product of covariances is the sum of the roots of its eigenvalues.
    roots = np.sqrt(np.clip(np.linalg.eigvals(cov_a @ cov_b).real, 0, None)).sum()
    return float(mean @ mean + np.trace(cov_a) + np.trace(cov_b) - 2 * roots)


def write_tiny_clip(folder: Path) -> None:
    """Write a CLIP with random weights that takes no time."""
    from families.parts import write_clip  # it imports transformers, which few tests need

    write_clip(folder)
