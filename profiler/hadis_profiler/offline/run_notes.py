"""The notes of a run, from what its stages measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hadis_profiler.offline import images, notes, table
from hadis_profiler.offline.discriminator import TIMED_BATCH
from hadis_profiler.offline.notes import (
    DifficultyNote,
    DiscriminatorNote,
    DistanceNote,
    LatencyNote,
    Notes,
    RoutingNote,
    Sample,
    SampleImage,
)
from hadis_profiler.offline.routing import Judged
from hadis_profiler.offline.routing_distance import distance_hulls
from hadis_profiler.offline.spec import Run
from hadis_profiler.offline.table import Measurements

_MOST_GAP, _LEAST_GAP = 4, 2
"""Prompts that a report shows: those on which the tiers differ most, and least."""


def notes_of(run: Run, measured: Measurements, prompts: Sequence[str]) -> Notes:
    """Return what a report shows beside the profile; `prompts` are those that every tier has an image of."""
    fit, trained = measured.difficulty, measured.discrimination
    return Notes(
        latency={
            name: tuple(LatencyNote(batch=p.batch, p95_s=p.p95_s, runs=p.runs) for p in tier.points)
            for name, tier in measured.latency.items()
        },
        difficulty=DifficultyNote(
            held_out=fit.held_out,
            noise=fit.noise,
            held_out_by_information=fit.held_out_by_information,
            low=fit.scores.min(),
            high=fit.scores.max(),
            histogram=notes.histogram(fit.scores.tolist()),
            ngrams=fit.ngrams,
        ),
        discriminator=DiscriminatorNote(
            auc=trained.auc, curve=trained.curve, good_share=trained.good_share, calibration=trained.calibration
        ),
        routing=_routing_note(run, measured),
        distances=tuple(_distance_notes(run, measured)),
        samples=tuple(_sample(run, measured, prompts[i], i) for i in _sampled(measured)),
    )


def _routing_note(run: Run, measured: Measurements) -> RoutingNote | None:
    """Return what is known of each held-out prompt; None where the scorer gives no scores."""
    scores, test, trained = measured.features.scores, measured.test, measured.discrimination
    if scores is None:
        return None
    fit, confidence = measured.difficulty, trained.confidence[:, test]
    image_s = tuple(measured.latency[tier.name].image_s for tier in run.spec.tiers)
    judged = Judged(scores[:, test], confidence, fit.scores[test], image_s, trained.seconds / TIMED_BATCH)
    return RoutingNote.of(judged, None if fit.difficulty.ngrams is None else fit.by_features[test])


def _distance_notes(run: Run, measured: Measurements) -> Iterator[DistanceNote]:
    """Yield what each way of choosing prompts reaches by distance."""
    features, test = measured.features, measured.test
    image_s = [measured.latency[tier.name].image_s for tier in run.spec.tiers]
    judge_s = measured.discrimination.seconds / TIMED_BATCH
    hulls = distance_hulls(
        measured.rows,
        [table.cost_of(row, image_s, judge_s) for row in measured.rows],
        features.by_tier[:, test],
        None if features.scores is None else features.scores[:, test],
        features.reference,
        image_s,
        judge_s,
        run.spec.grid,
    )
    for way, corners in hulls.items():
        costs, distances = zip(*corners, strict=True)
        rounded = tuple(round(cost, 8) for cost in costs), tuple(round(distance, 6) for distance in distances)
        yield DistanceNote(way=way, costs=rounded[0], distances=rounded[1])


def _sampled(measured: Measurements) -> list[int]:
    """Return the held-out prompts on which the tiers differ most, and least."""
    gap = measured.features.quality_gap[measured.test]
    order = measured.test[np.argsort(-gap, kind="stable")]
    return [*order[:_MOST_GAP].tolist(), *order[-_LEAST_GAP:].tolist()]


def _sample(run: Run, measured: Measurements, prompt: str, i: int) -> Sample:
    confidence = measured.discrimination.confidence[:, i].tolist()
    return Sample(
        prompt=prompt,
        images=tuple(
            SampleImage(
                tier=tier.name,
                confidence=round(confidence[k], 3),
                uri=notes.small_copy(next(images.read_images(run, tier, [i]))),
            )
            for k, tier in enumerate(run.spec.tiers)
        ),
    )
