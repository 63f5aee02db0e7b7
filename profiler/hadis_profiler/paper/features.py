"""Fit the word-class coefficients of `hadis_router.features` to the paper's feature columns, and print them.

The paper's extractor was not published as a library; its columns for 5,000 prompts were. Each column is fitted by
least squares on the counts that the router takes, on one half, and compared on the other.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from hadis_router.features import COUNTS, FEATURES, counts
from numpy.typing import NDArray

WEIGHTS = np.array([0.85, 0.32, 0.72, 0.99, 0.76, 0.07, 0.78, 0.01])
"""The paper's weights over z-scored columns, in the order of FEATURES."""
Array = NDArray[np.float64]


def read_columns(path: Path) -> tuple[list[str], Array]:
    """Return the prompts and their columns (n, 8) from a prompt_features.csv."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["prompt"] for row in rows], np.array([[float(row[name]) for name in FEATURES] for row in rows])


def paper_score(columns: Array) -> Array:
    """Return the paper's difficulty (n,) of columns (n, 8)."""
    return np.asarray((columns - columns.mean(0)) / columns.std(0) @ WEIGHTS)


def spearman(a: Array, b: Array) -> float:
    """Return the rank correlation of two samples, ties at their middle rank."""
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: Array) -> Array:
    _, inverse, ties = np.unique(np.round(values, 9), return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(ties) - (ties - 1) / 2)[inverse])


def main(folder: Path) -> None:
    """Print the coefficients and how well they do on prompts that they were not fitted on."""
    prompts, columns = read_columns(folder / "prompt_features.csv")
    taken = np.array([counts(prompt) for prompt in prompts])
    guess = np.zeros_like(columns)
    for half in (0, 1):
        fit = np.linalg.lstsq(taken[half::2], columns[half::2], rcond=None)[0]
        guess[1 - half :: 2] = taken[1 - half :: 2] @ fit
    print(
        "held out:",
        {
            name: round(float(np.corrcoef(g, c)[0, 1]), 3)
            for name, g, c in zip(FEATURES, guess.T, columns.T, strict=True)
        },
    )
    z = (guess - columns.mean(0)) / columns.std(0)
    print("Spearman of the score, held out:", round(spearman(z @ WEIGHTS, paper_score(columns)), 4))
    fit = np.linalg.lstsq(taken, columns, rcond=None)[0]
    for name, row in zip(COUNTS, fit, strict=True):
        print(f'    "{name}": ({", ".join(f"{value:.2f}" for value in row)}),')
    print("mean", columns.mean(0).round(4).tolist(), "std", columns.std(0).round(4).tolist())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
