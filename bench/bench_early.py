"""Whether judging light images before they are finished pays, on the example models: `python bench/bench_early.py`.

Each step of a diffusion model predicts what its image will become. The discriminator can look at that, and have an
image deferred before the light tier makes its other steps. One that was trained for it might judge better: how well is
left open, and it is taken to judge as the shipped one judges finished images. Prints Markdown. What decoding a kept
image twice takes is not counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from drawn import RUN, TIERS, Array, confidences, image_s, judge_s, prompts, right, stages, whole
from fronts import alone, deferring, rows_of
from hadis_profiler.offline.hull import Outcome
from hadis_profiler.offline.prompts import split
from hadis_profiler.offline.ranking import area_under_curve
from hadis_profiler.offline.routing_report import Row, markdown

PROMPTS = 400
LIGHT, STEPS = ("small-8", "large-8"), 8
JUDGED_AFTER = (3, 4)
"""Steps after which an image is judged: about a third, and half."""
PAIRS = (("small-8", "large-8"), ("small-8", "large-50"), ("large-8", "large-50"))


@dataclass(frozen=True)
class EarlyJudging:
    """The prompts: which finished images are right (n,), and the shipped discriminator's confidence in them."""

    right: Mapping[str, Array]
    confidence: Mapping[str, Array]
    """When they are finished."""
    early: Mapping[tuple[str, int], Array]
    """After some steps."""
    early_right: Mapping[tuple[str, int], Array]
    """Which images are right as they are predicted after some steps."""


def judged_early() -> EarlyJudging:
    """Make the images that no run before has made, and rate them."""
    which = split(len(prompts()), RUN.spec.seed).test[:PROMPTS]
    finished = {tier: whole(tier, which) for tier in TIERS}
    predicted = {(tier, after): pixels for tier in LIGHT for after, pixels in stages(tier, which, JUDGED_AFTER).items()}
    return EarlyJudging(
        {tier: right(which, pixels) for tier, pixels in finished.items()},
        {tier: confidences(tier, which, pixels) for tier, pixels in finished.items()},
        {(tier, after): confidences(tier, which, pixels) for (tier, after), pixels in predicted.items()},
        {key: right(which, pixels) for key, pixels in predicted.items()},
    )


def judging_rows(judging: EarlyJudging) -> Iterator[Row]:
    """Yield a row per tier: the area under the ROC curve for the finished image being wrong, and what is right then."""
    titles = [*(f"after {after} of {STEPS} steps" for after in JUDGED_AFTER), "finished"]
    yield "light tier", *(f"area, {title}" for title in titles), *(f"right, {title}" for title in titles)
    for tier in LIGHT:
        good = judging.right[tier] == 1
        judged = [*(judging.early[tier, after] for after in JUDGED_AFTER), judging.confidence[tier]]
        shown = [*(judging.early_right[tier, after] for after in JUDGED_AFTER), judging.right[tier]]
        areas = (f"{area_under_curve(confidence, good):.3f}" for confidence in judged)
        yield tier, *areas, *(f"{scores.mean():.3f}" for scores in shown)


def outcomes(judging: EarlyJudging, light: str, heavy: str, confidence: Array, after: int) -> Iterator[Outcome]:
    """Yield the outcomes of a pair whose light images are judged after some steps, by confidences (n,)."""
    kept = alone(image_s(light) + judge_s(), judging.right[light])
    deferred = alone(image_s(light, after) + judge_s() + image_s(heavy), judging.right[heavy])
    return deferring(confidence, kept, deferred)


def fronts(judging: EarlyJudging) -> dict[str, list[Outcome]]:
    """Return the outcomes of tiers alone and of their pairs, by when light images of several steps are judged."""
    others = [alone(image_s(tier), judging.right[tier]) for tier in TIERS]
    for heavy in list(TIERS)[1:]:
        others += outcomes(judging, "small-1", heavy, judging.confidence["small-1"], 1)
    ways = {"finished": [outcomes(judging, *pair, judging.confidence[pair[0]], STEPS) for pair in PAIRS]}
    for after in JUDGED_AFTER:
        by_shipped = [outcomes(judging, *pair, judging.early[pair[0], after], after) for pair in PAIRS]
        as_finished = [outcomes(judging, *pair, judging.confidence[pair[0]], after) for pair in PAIRS]
        ways |= {f"after {after} steps": by_shipped, f"after {after} steps, as well as when finished": as_finished}
    return {name: [*others, *itertools.chain(*ways[name])] for name in ways}


def main() -> None:
    """Print the tables, each with a sentence that says what it is of."""
    judging = judged_early()
    print(
        f"Light images of {PROMPTS} prompts that nothing was trained on, as a part of the steps predicts them: the "
        "shipped discriminator's area under the ROC curve for the finished image being wrong, and the share of the "
        "predicted images that are right.\n"
    )
    print(markdown(judging_rows(judging)))
    print(
        "\nWhat a service reaches at equal GPU seconds per request, by when the images of small-8 and large-8 are "
        "judged: by the shipped discriminator, and by one that would judge the prediction as well as that judges the "
        "finished image. With 90% intervals of the difference from judging finished ones.\n"
    )
    print(markdown(rows_of(fronts(judging))))


if __name__ == "__main__":
    main()
