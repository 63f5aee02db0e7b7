"""Fit the word-class coefficients of `hadis_router.difficulty.features` to the paper's feature columns, and print them.

The paper's extractor was not published as a library; its columns for 5,000 prompts were. Each column is fitted by
least squares on the counts that the router takes, on one half, and compared on the other. For prompts in languages
that the router has no word classes of, each column is fitted on the number of words alone.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from hadis_router.difficulty.features import COUNTS, FEATURES, counts
from hadis_router.difficulty.prompt_text import read
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


def taken_counts(prompts: list[str]) -> Array:
    """Return the counts (n, len(COUNTS)) of English prompts."""
    return np.array([counts([word for clause in read(prompt).clauses for word in clause]) for prompt in prompts])


def main(folder: Path) -> None:
    """Print the coefficients and how well they do on prompts that they were not fitted on."""
    prompts, columns = read_columns(folder / "prompt_features.csv")
    taken = taken_counts(prompts)
    guess = _held_out(taken, columns)
    print(
        "held out:",
        {
            name: round(float(np.corrcoef(g, c)[0, 1]), 3)
            for name, g, c in zip(FEATURES, guess.T, columns.T, strict=True)
        },
    )
    length = taken[:, [COUNTS.index("words"), COUNTS.index("one")]]
    for by, some in (("word classes", guess), ("length alone", _held_out(length, columns))):
        z = (some - columns.mean(0)) / columns.std(0)
        print(f"Spearman of the score by {by}, held out:", round(spearman(z @ WEIGHTS, paper_score(columns)), 4))
    for table, names, given in (("COEFFICIENTS", COUNTS, taken), ("OTHER_LANGUAGES", ("words", "one"), length)):
        print(table)
        for name, row in zip(names, np.linalg.lstsq(given, columns, rcond=None)[0], strict=True):
            print(f'    "{name}": ({", ".join(f"{value:.2f}" for value in row)}),')
    print("mean", columns.mean(0).round(4).tolist(), "std", columns.std(0).round(4).tolist())


def _held_out(given: Array, columns: Array) -> Array:
    """Return the columns (n, 8) as a fit on the other half of the prompts has them."""
    guess = np.zeros_like(columns)
    for half in (0, 1):
        fit = np.linalg.lstsq(given[half::2], columns[half::2], rcond=None)[0]
        guess[1 - half :: 2] = given[1 - half :: 2] @ fit
    return guess


if __name__ == "__main__":
    main(Path(sys.argv[1]))
