"""Time the quality stage on features of FID's size: `python bench/bench_quality.py [PROMPTS] [WIDTH]`."""

from __future__ import annotations

import resource
import sys
import time

import numpy as np
from hadis_profiler.offline.quality import grid


def main(prompts: int, width: int) -> None:
    """Print the seconds of a grid of 4 tiers and 11 x 11 ratios, and the memory."""
    rng = np.random.default_rng(0)
    scale = 0.5 / np.sqrt(1 + np.arange(width))
    features = np.stack([rng.normal(k / 10, 1 + k / 10, (prompts, width)) * scale for k in (3, 2, 1, 0)])
    reference = rng.normal(0, 1, (prompts, width)) * scale
    began = time.perf_counter()
    rows = sum(1 for _ in grid(features, None, reference, rng.random(prompts), rng.random((4, prompts)), 11))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print("| what | measured |\n|---|---|")
    print(f"| {rows} configurations, {prompts} prompts, {width} features, s | {time.perf_counter() - began:.0f} |")
    print(f"| memory, GB | {memory:.1f} |")


if __name__ == "__main__":
    main(*(int(word) for word in (*sys.argv[1:], "5000", "2048")[:2]))
