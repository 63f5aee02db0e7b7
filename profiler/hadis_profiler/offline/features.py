"""Looks at every image once: features and scores by tier, kept as arrays, so that no configuration looks again."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from hadis_profiler.offline import store
from hadis_profiler.offline.images import read_images
from hadis_profiler.offline.scorers import Scorer
from hadis_profiler.offline.spec import Run, SpecError

Array = NDArray[np.float64]
_BATCH = 32


@dataclass(frozen=True)
class Looks:
    """Of n prompts: features by tier (k, n, d), scores by tier (k, n) where the scorer gives any, reference (m, d)."""

    features: Array
    scores: Array | None
    reference: Array

    def badness(self, tier: int) -> Array:
        """Return how bad a tier's images are (n,): by score, else by how far they are from the heaviest tier's."""
        if self.scores is not None:
            return np.asarray(-self.scores[tier])
        return np.asarray(np.linalg.norm(self.features[tier] - self.features[-1], axis=1))


def look(run: Run, prompts: Sequence[str], scorer: Scorer, test: Sequence[int], progress: Progress) -> Looks:
    """Return the looks at all images; the reference is of the prompts `test` that quality is measured on."""
    task = progress.add_task("looking", total=len(run.spec.tiers) * len(prompts))
    features, scores = [], []
    for tier in run.spec.tiers:
        how = run.spec.seed, run.spec.scorer, run.spec.scorer_weights
        made_from = store.mark(tier.model_dump(), how, list(prompts))
        path = run.work / "looks" / f"{tier.name}.{made_from}.npz"
        if not path.exists():
            parts = []
            for start in range(0, len(prompts), _BATCH):
                some = range(start, min(len(prompts), start + _BATCH))
                images, texts = list(read_images(run, tier, some)), [prompts[i] for i in some]
                parts.append((scorer.features(texts, images), scorer.scores(texts, images)))
                progress.advance(task, len(some))
            _save(path, parts)
        with np.load(path) as kept:
            features.append(kept["features"])
            scores.append(kept["scores"] if "scores" in kept.files else None)
        if not np.isfinite(features[-1]).all():
            raise SpecError(f"scorer {run.spec.scorer}: gives features of {tier.name} that are no numbers")
    known = [s for s in scores if s is not None]
    reference = scorer.reference([prompts[i] for i in test])
    return Looks(np.stack(features), np.stack(known) if len(known) == len(scores) else None, reference)


def _save(path: Path, parts: list[tuple[Array, Array | None]]) -> None:
    arrays = {"features": np.concatenate([f for f, _ in parts])}
    found = [s for _, s in parts if s is not None]
    if found:
        arrays["scores"] = np.concatenate(found)
    body = io.BytesIO()
    np.savez(body, allow_pickle=False, **arrays)
    store.write(path, body.getvalue())
