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
from hadis_profiler.offline.prompts import split
from hadis_profiler.offline.ranking import area_under_curve
from hadis_profiler.offline.routing import Outcome
from hadis_profiler.offline.routing_report import Row, markdown

PROMPTS = 400
LIGHT = "large-5"
STEPS = TIERS[LIGHT].steps
JUDGED_AFTER = (2, 3)
"""Steps after which an image is judged, about half of them: fewer show nothing."""
HEAVY = "large-20"
CHEAPEST = ("small-1", "large-1")
"""Of so few steps that their images are judged when they are finished in any case."""


@dataclass(frozen=True)
class EarlyJudging:
    """The prompts: which finished images are right (n,), and the shipped discriminator's confidence in them."""

    right: Mapping[str, Array]
    confidence: Mapping[str, Array]
    """When they are finished."""
    early: Mapping[int, Array]
    """In the light tier's after some steps."""
    early_right: Mapping[int, Array]
    """Which of the light tier's images are right as they are predicted after some steps."""


def judged_early() -> EarlyJudging:
    """Make the images that no run before has made, and rate them."""
    which = split(len(prompts()), RUN.spec.seed).test[:PROMPTS]
    finished = {tier: whole(tier, which) for tier in TIERS}
    predicted = stages(LIGHT, which, JUDGED_AFTER)
    return EarlyJudging(
        {tier: right(which, pixels) for tier, pixels in finished.items()},
        {tier: confidences(tier, which, pixels) for tier, pixels in finished.items()},
        {after: confidences(LIGHT, which, pixels) for after, pixels in predicted.items()},
        {after: right(which, pixels) for after, pixels in predicted.items()},
    )


def judging_rows(judging: EarlyJudging) -> Iterator[Row]:
    """Yield a row per moment: the area under the ROC curve for the finished image being wrong, and what is right."""
    yield "judged", "area", "right"
    finished_right = judging.right[LIGHT] == 1
    for after in JUDGED_AFTER:
        area = area_under_curve(judging.early[after], finished_right)
        yield f"after {after} of {STEPS} steps", f"{area:.3f}", f"{judging.early_right[after].mean():.3f}"
    area = area_under_curve(judging.confidence[LIGHT], finished_right)
    yield "finished", f"{area:.3f}", f"{judging.right[LIGHT].mean():.3f}"


def outcomes(judging: EarlyJudging, light: str, heavy: str, confidence: Array, after: int) -> Iterator[Outcome]:
    """Yield the outcomes of a pair whose light images are judged after some steps, by confidences (n,)."""
    kept = alone(image_s(light) + judge_s(), judging.right[light])
    deferred = alone(image_s(light, after) + judge_s() + image_s(heavy), judging.right[heavy])
    return deferring(confidence, kept, deferred)


def fronts(judging: EarlyJudging) -> dict[str, list[Outcome]]:
    """Return the outcomes of tiers alone and of their pairs, by when the images of LIGHT are judged."""
    others = [alone(image_s(tier), judging.right[tier]) for tier in TIERS]
    for light, heavy in itertools.combinations(TIERS, 2):
        if light in CHEAPEST:
            others += outcomes(judging, light, heavy, judging.confidence[light], TIERS[light].steps)
    judged = {"finished": (judging.confidence[LIGHT], STEPS)}
    for after in JUDGED_AFTER:
        judged[f"after {after} steps"] = (judging.early[after], after)
        judged[f"after {after} steps, as well as when finished"] = (judging.confidence[LIGHT], after)
    ways = {name: outcomes(judging, LIGHT, HEAVY, *each) for name, each in judged.items()}
    return {name: [*others, *way] for name, way in ways.items()}


def main() -> None:
    """Print the tables, each with a sentence that says what it is of."""
    judging = judged_early()
    print(
        f"Images of {LIGHT} for {PROMPTS} prompts that nothing was trained on, as a part of the steps predicts them: "
        "the shipped discriminator's area under the ROC curve for the finished image being wrong, and the share of "
        "the predicted images that are right.\n"
    )
    print(markdown(judging_rows(judging)))
    print(
        f"\nWhat a service reaches at equal GPU seconds per request, by when the images of {LIGHT} are judged: by the "
        "shipped discriminator, and by one that would judge the prediction as well as that judges the finished image. "
        "With 90% intervals of the difference from judging finished ones.\n"
    )
    print(markdown(rows_of(fronts(judging))))


if __name__ == "__main__":
    main()
