"""How long scoring a prompt takes, and how closely the score ranks prompts as the paper's own score does.

Run `python bench/bench_difficulty.py`, pinned to one core for numbers that compare (`taskset -c 0`). Prints markdown.
Without the paper's prompts it times prompts of the scenes' generator, and compares nothing.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hadis.api.resources import Difficulty
from hadis.cli.scenes import random_scene
from hadis_profiler.paper.features import WEIGHTS, paper_score, read_columns, spearman
from hadis_router.difficulty.features import FEATURES, features
from hadis_router.difficulty.scorer import DifficultyScorer

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests/router"))

from translated import LEXICON, prompt_in, scenes

PAPER_PROMPTS = ROOT.parent / "shared/data/paper/prompt_features.csv"
LONG_WORDS = 300


def scorer(mean: Sequence[float], std: Sequence[float], weights: Sequence[float]) -> DifficultyScorer:
    """Return a scorer of all features."""
    return DifficultyScorer(
        Difficulty(features=FEATURES, mean=tuple(mean), std=tuple(std), weights=tuple(weights), quantiles=(0, 1))
    )


def long_prompts(prompts: Sequence[str], words: int, count: int) -> list[str]:
    """Return prompts of so many words, each put together from others."""
    pool = [word for prompt in prompts for word in prompt.split()]
    rng = random.Random(0)
    return [" ".join(rng.choices(pool, k=words)) for _ in range(count)]


def timed_ms(one: DifficultyScorer, prompts: Sequence[str]) -> list[float]:
    """Return the milliseconds of each prompt, each scored once: what is kept from one helps only the next ones."""
    times_ms = []
    for prompt in prompts:
        began = time.perf_counter()
        one.score(prompt)
        times_ms.append((time.perf_counter() - began) * 1e3)
    return times_ms


def main() -> None:
    """Print a table of times, then the rank correlation with the paper's score."""
    paper = PAPER_PROMPTS.is_file()
    rng = random.Random(0)
    prompts = read_columns(PAPER_PROMPTS)[0] if paper else [str(random_scene(rng)) for _ in range(5000)]
    one = scorer([0.0] * 8, [1.0] * 8, WEIGHTS.tolist())
    print("| prompts | words (median) | median ms | p99 ms | worst ms |")
    print("|---|---|---|---|---|")
    others = LEXICON.keys() - {"en"}
    translated = [prompt_in(language, scene) for scene in scenes(200) for language in sorted(others)]
    for name, some in (
        (f"{len(prompts)} of {'the paper' if paper else 'the scenes'}", prompts),
        (f"500 of {LONG_WORDS} words", long_prompts(prompts, LONG_WORDS, 500)),
        (f"200 in {len(others)} other languages", translated),
    ):
        times_ms = timed_ms(one, some)
        words = statistics.median(len(prompt.split()) for prompt in some)
        p99 = statistics.quantiles(times_ms, n=100)[98]
        print(f"| {name} | {words:g} | {statistics.median(times_ms):.2f} | {p99:.2f} | {max(times_ms):.2f} |")
    if paper:
        columns = read_columns(PAPER_PROMPTS)[1]
        ours = np.array([features(prompt) for prompt in prompts])
        score = (ours - columns.mean(0)) / columns.std(0) @ WEIGHTS
        print(f"\nSpearman with the paper's score: {spearman(score, paper_score(columns)):.4f}")


if __name__ == "__main__":
    main()
