"""What choosing prompts is worth on the example models: `python bench/bench_routing.py [COST ...]`.

Reads what the last `make scenes-profile` noted down of each prompt that nothing was trained on.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hadis_profiler.offline.notes import notes_path, read_notes
from hadis_profiler.offline.routing import gains
from hadis_profiler.offline.routing_report import distance_rows, markdown, rows_of

PROFILE = Path(__file__).parents[1] / "examples/scenes/profile.yaml"
COSTS = (0.006, 0.010, 0.015, 0.030, 0.050, 0.080, 0.120)
RESAMPLES = 400


def main(costs: list[float]) -> None:
    """Print the table and the sentence that says what it is of."""
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


if __name__ == "__main__":
    main([float(word) for word in sys.argv[1:]] or list(COSTS))
