"""What a replay is made of: arrivals, and each prompt's difficulty and confidence by tier.

A trace is a text file of lines `arrival_ms,prompt_index` (the index may be left out). A prompt folder has
`prompt_features.csv`, whose columns the profile's difficulty weighs, and `confidence/model_K.txt`, the discriminator's
two probabilities (fake, real) for each image of tier K, several images per prompt in order.
"""

from __future__ import annotations

import csv
import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hadis.planning.profile import Profile
from numpy.typing import NDArray

Array = NDArray[np.float64]

DISORDER_S = 5.0


class ReplayInputError(Exception):
    """An input that cannot be replayed; the message says which, where, and what to write."""


@dataclass(frozen=True)
class ScoredPrompts:
    """Difficulty (n,) and confidence (tiers, n) by prompt index."""

    difficulty: Array
    confidence: Array

    def __len__(self) -> int:
        """Return the number of prompts."""
        return len(self.difficulty)


def read_trace(path: Path, prompts: int, stretch: float = 1.0) -> Iterator[tuple[float, int]]:
    """Yield (arrival in seconds, prompt index) in order of time, times multiplied by `stretch`; raise ReplayInputError.

    Lines may be out of order by up to DISORDER_S, as merged logs are; nothing more is kept in memory.
    """
    later: list[tuple[float, int]] = []
    for at, prompt in _lines(path, prompts):
        heapq.heappush(later, (at, prompt))
        while later[0][0] < at - DISORDER_S:
            first = heapq.heappop(later)
            yield first[0] * stretch, first[1]
    while later:
        first = heapq.heappop(later)
        yield first[0] * stretch, first[1]


def _lines(path: Path, prompts: int) -> Iterator[tuple[float, int]]:
    latest, count, number, line = 0.0, 0, 0, ""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                at_ms, _, index = line.partition(",")
                at, prompt = float(at_ms) / 1e3, int(index) if index.strip() else count % prompts
                if not (math.isfinite(at) and at >= 0):
                    raise ReplayInputError(f"{path}, line {number}: the arrival {at_ms!r} must be 0 ms or later")
                if at < latest - DISORDER_S:
                    raise ReplayInputError(
                        f"{path}, line {number}: arrives {latest - at:.1f} s before a line above; sort it"
                    )
                if not 0 <= prompt < prompts:
                    raise ReplayInputError(
                        f"{path}, line {number}: prompt {prompt} is not among the {prompts} (from 0)"
                    )
                count, latest = count + 1, max(latest, at)
                yield at, prompt
    except ValueError:
        raise ReplayInputError(f"{path}, line {number}: {line.strip()!r} is not arrival_ms,prompt_index") from None
    except OSError as error:
        raise ReplayInputError(f"{path}: {error.strerror}") from None
    if not count:
        raise ReplayInputError(f"{path}: has no arrivals; write a line arrival_ms,prompt_index for each request")


def read_prompts(folder: Path, profile: Profile) -> ScoredPrompts:
    """Return the prompts of a folder, scored with the profile's difficulty; raise ReplayInputError."""
    difficulty = profile.resource.spec.difficulty
    path = folder / "prompt_features.csv"
    if difficulty.known_ngrams is not None:
        raise ReplayInputError(
            f"{path}: holds text features, and the profile's difficulty reads n-grams of the prompts as well; take "
            "`difficulty.ngrams` out of a copy of the profile"
        )
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [[float(row[name]) for name in difficulty.features] for row in csv.DictReader(file)]
        columns = np.array(rows).reshape(len(rows), len(difficulty.features))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ReplayInputError(
            f"{path}: needs numbers in the columns {', '.join(difficulty.features)} ({error})"
        ) from None
    if not len(columns):
        raise ReplayInputError(f"{path}: has no prompts")
    score = (columns - np.array(difficulty.mean)) / np.array(difficulty.std) @ np.array(difficulty.weights)
    confidence = [_read_confidence(folder / f"confidence/model_{k}.txt", len(score)) for k in range(len(profile.tiers))]
    return ScoredPrompts(score, np.array(confidence))


def _read_confidence(path: Path, prompts: int) -> Array:
    try:
        real = np.loadtxt(path, ndmin=2)[:, 1]
    except (OSError, ValueError, IndexError) as error:
        raise ReplayInputError(f"{path}: needs a line of two probabilities (fake, real) per image ({error})") from None
    if not len(real) or len(real) % prompts or not np.isfinite(real).all():
        raise ReplayInputError(
            f"{path}: {len(real)} lines are not the same number of images for each of {prompts} prompts"
        )
    return np.asarray(real.reshape(prompts, -1).mean(1))


def drawn_prompts(profile: Profile, seed: int, count: int = 5000) -> ScoredPrompts:
    """Return prompts drawn from the profile's quantiles, for a user who has a trace but no prompts."""
    rng = np.random.default_rng(seed)

    def draw(quantiles: tuple[float, ...]) -> Array:
        values = quantiles or (0.0, 1.0)
        return np.interp(rng.random(count), np.linspace(0, 1, len(values)), values)

    spec = profile.resource.spec
    difficulty, confidence = spec.difficulty.score_quantiles, [draw(t.confidence_quantiles) for t in spec.tiers]
    return ScoredPrompts(draw(difficulty), np.array(confidence))
