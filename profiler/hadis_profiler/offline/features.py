"""Features and scores of every image, taken once and kept as arrays, so that no configuration reads an image again."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from hadis_profiler.offline import store
from hadis_profiler.offline.images import NOT_IN_IMAGES, read_images
from hadis_profiler.offline.scorers import Scorer
from hadis_profiler.offline.spec import Run, SpecError

Array = NDArray[np.float64]
_BATCH = 32


@dataclass(frozen=True)
class ImageFeatures:
    """Of n prompts: features by tier (k, n, d), scores by tier (k, n) where the scorer gives any, reference (m, d)."""

    by_tier: Array
    scores: Array | None
    reference: Array

    def error(self, tier: int) -> Array:
        """Return how bad a tier's images are (n,): by score, else by how far they are from the heaviest tier's."""
        if self.scores is not None:
            return np.asarray(-self.scores[tier])
        return np.asarray(np.linalg.norm(self.by_tier[tier] - self.by_tier[-1], axis=1))

    @property
    def quality_gap(self) -> Array:
        """How much worse the lightest tier's images are than the heaviest tier's (n,)."""
        return self.error(0) - self.error(-1)


def extract(run: Run, prompts: Sequence[str], scorer: Scorer, test: Sequence[int], progress: Progress) -> ImageFeatures:
    """Return the features of all images; the reference is of the prompts `test` that quality is measured on."""
    task = progress.add_task("features", total=len(run.spec.tiers) * len(prompts))
    features, scores = [], []
    for tier in run.spec.tiers:
        settings = run.spec.seed, run.spec.scorer, run.spec.scorer_weights
        made_from = store.mark(tier.model_dump(exclude=NOT_IN_IMAGES), settings, list(prompts))
        path = run.work / "features" / f"{tier.name}.{made_from}.npz"
        if not path.exists():
            parts = []
            for start in range(0, len(prompts), _BATCH):
                indices = range(start, min(len(prompts), start + _BATCH))
                images, texts = list(read_images(run, tier, indices)), [prompts[i] for i in indices]
                parts.append((scorer.features(texts, images), scorer.scores(texts, images)))
                progress.advance(task, len(indices))
            _save(path, parts)
        with np.load(path) as kept:
            features.append(kept["features"])
            scores.append(kept["scores"] if "scores" in kept.files else None)
        if not np.isfinite(features[-1]).all():
            raise SpecError(f"scorer {run.spec.scorer}: features of {tier.name} are not finite numbers")
        if scores[-1] is not None and not np.isfinite(scores[-1]).all():
            wrong = int(np.flatnonzero(~np.isfinite(scores[-1]))[0])
            raise SpecError(
                f"scorer {run.spec.scorer}: the score of {tier.name}'s image of prompt {wrong} "
                f"({prompts[wrong][:60]!r}) is no finite number"
            )
    known = [s for s in scores if s is not None]
    reference = scorer.reference([prompts[i] for i in test])
    return ImageFeatures(np.stack(features), np.stack(known) if len(known) == len(scores) else None, reference)


def _save(path: Path, parts: list[tuple[Array, Array | None]]) -> None:
    arrays = {"features": np.concatenate([features for features, _ in parts])}
    scores = [scores for _, scores in parts if scores is not None]
    if scores:
        arrays["scores"] = np.concatenate(scores)
    body = io.BytesIO()
    np.savez(body, allow_pickle=False, **arrays)
    store.write(path, body.getvalue())
