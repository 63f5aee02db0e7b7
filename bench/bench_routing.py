"""What choosing prompts is worth on the example models: `python bench/bench_routing.py [COST ...]`.

Reads what the last `make scenes-profile` noted down of each prompt that nothing was trained on.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from hadis_profiler.offline.notes import DifficultyNote, RoutingNote, notes_path, read_notes
from hadis_profiler.offline.prompts import read_prompts, split
from hadis_profiler.offline.routing import gains
from hadis_profiler.offline.routing_report import distance_rows, markdown, rows_of, text_rows
from hadis_profiler.offline.spec import read_run
from online_difficulty import EXPLORED, online_rows

PROFILE = Path(__file__).parents[1] / "examples/scenes/profile.yaml"
RUN = PROFILE.with_name("profile-run.yaml")
COSTS = (0.006, 0.010, 0.015, 0.030, 0.050, 0.080, 0.120)
RESAMPLES = 400


def main(costs: list[float]) -> None:
    """Print the tables, each with a sentence that says what it is of."""
    notes = read_notes(notes_path(PROFILE))
    if notes is None or notes.routing is None:
        raise SystemExit(f"{notes_path(PROFILE)} has no prompts one by one: run `make scenes-profile` first")
    judged = notes.routing.judged
    print(
        f"Share of scenes drawn right on {judged.scores.shape[1]} prompts that nothing was trained on, over all pairs "
        f"of tiers, with 90% intervals. The discriminator's area under the ROC curve: {notes.discriminator.auc:.3f}.\n"
    )
    print(markdown(rows_of(gains(judged, costs, RESAMPLES))))
    if notes.distances:
        print("\nThe same by distance (lower is better), linear between configurations:\n")
        print(markdown(distance_rows(notes.distances, costs)))
    if curve := notes.discriminator.curve:
        print("\nThe discriminator's area under the ROC curve, by the number of prompts that it was trained on:\n")
        print(markdown([("prompts", "area"), *((f"{point.prompts:,}", f"{point.auc:.3f}") for point in curve)]))
    print_learned(notes.difficulty, notes.routing, costs)


def print_learned(note: DifficultyNote, routing: RoutingNote, costs: list[float]) -> None:
    """Print what n-grams bring, and what learning in service would."""
    print("\n## Difficulty that is learned")
    if note.ngrams is not None:
        print(f"\n{note.ngrams.words}")
    if routing.features_difficulty:
        by_features = np.array(routing.features_difficulty)
        print(f"\n{markdown(text_rows(routing.judged, by_features, costs, RESAMPLES))}")
    run = read_run(RUN, RUN.parent)
    texts = read_prompts(run).texts
    prompts = [texts[i] for i in split(len(texts), run.spec.seed).test]
    if len(prompts) != len(routing.difficulty):
        raise SystemExit(f"{RUN.parent / run.spec.prompts} has other prompts than {notes_path(PROFILE)} is of")
    print(
        "\nLearning it in service was tried on the same prompts: some are profiled, the others come in order, and each "
        "is scored by what was learned before it. Labels are the discriminator's confidences: of light images, with "
        f"{EXPLORED:.0%} of the prompts for the heavy tier drawn by the light one first, or of heavy images as well. "
        "HADIS does not learn in service: light images say where the light tier is poor, which is not where the heavy "
        "tier is better (docs/decisions/ngrams.md).\n"
    )
    print(markdown(online_rows(prompts, routing.judged)))


if __name__ == "__main__":
    main([float(word) for word in sys.argv[1:]] or list(COSTS))
