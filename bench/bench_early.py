"""Whether judging light images before they are finished pays, on the example models: `python bench/bench_early.py`.

Each step of a diffusion model predicts what its image will become. The discriminator can look at that, and have an
image deferred before the light tier makes its other steps. Prints Markdown. What decoding a kept image twice takes is
not counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from drawn import (
    RUN,
    TIERS,
    Array,
    Numbers,
    Pixels,
    as_images,
    confidences,
    image_s,
    judge_s,
    prompts,
    right,
    scorer,
    stages,
    texts_of,
    whole,
)
from fronts import alone, deferring, rows_of
from hadis_profiler.offline import expected_training
from hadis_profiler.offline.expected_training import Seen, informative
from hadis_profiler.offline.learning import untrained
from hadis_profiler.offline.prompts import split
from hadis_profiler.offline.ranking import area_under_curve
from hadis_profiler.offline.routing import RATIOS, Outcome
from hadis_profiler.offline.routing_report import Row, markdown
from hadis_worker.discriminator import ExpectedDiscriminator
from hadis_worker.discriminator import pixels as pixels_of
from rich.progress import Progress

TESTED, TRAINED, CALIBRATED = 400, 400, 100
LIGHT, STEPS = ("small-8", "large-8"), 8
LOOKS = (3, 4, STEPS)
"""Steps after which an image is judged: about a third, half, and all."""
PAIRS = (("small-8", "large-8"), ("small-8", "large-50"), ("large-8", "large-50"))
PAIR_COSTS = (0.030, 0.040, 0.080)


@dataclass(frozen=True)
class Looks:
    """The tested prompts: which images are right in the end (n,), and the confidence in them when they were judged."""

    right: Mapping[str, Array]
    by_shipped: Mapping[tuple[str, int], Array]
    by_trained: Mapping[tuple[str, int], Array]
    """Of one that was trained on images of as many steps."""
    confidence: Mapping[str, Array]
    """The shipped one's in the finished images of every tier."""


def looked() -> Looks:
    """Make the images that no run before has made, train a discriminator per look, and rate them."""
    parts = split(len(prompts()), RUN.spec.seed)
    tested, others = parts.test[:TESTED], np.concatenate([parts.train[:TRAINED], parts.calibrate[:CALIBRATED]])
    seen = {tier: stages(tier, tested, LOOKS) for tier in LIGHT}
    learnt_from = [stages(tier, others, LOOKS) for tier in LIGHT]
    by_shipped, by_trained = {}, {}
    for after in LOOKS:
        network = trained(others, [by_look[after] for by_look in learnt_from], [whole(tier, others) for tier in LIGHT])
        for tier in LIGHT:
            pixels = seen[tier][after]
            by_shipped[tier, after] = confidences(tier, tested, pixels)
            by_trained[tier, after] = np.array(network.confidence(as_images(pixels), texts_of(tested), tier))
    finished = {tier: whole(tier, tested) for tier in TIERS}
    return Looks(
        {tier: right(tested, pixels) for tier, pixels in finished.items()},
        by_shipped,
        by_trained,
        {tier: confidences(tier, tested, pixels) for tier, pixels in finished.items()},
    )


def trained(which: Numbers, looks: Sequence[Pixels], finished: Sequence[Pixels]) -> ExpectedDiscriminator:
    """Return a discriminator that knows, by what images look like in between, what the scorer sees when finished.

    Both are of some tiers; the last `CALIBRATED` of the prompts are not trained on, but what it is calibrated by.
    """
    torch.manual_seed(RUN.spec.seed)
    texts = texts_of(which)
    features = informative(np.stack([scorer().features(texts, as_images(pixels)) for pixels in finished]))
    network = untrained(RUN, texts, features.shape[-1])
    assert isinstance(network, ExpectedDiscriminator)
    seen = Seen(
        torch.stack([pixels_of(as_images(pixels), network.image_size) for pixels in looks]),
        network.text.read(texts),
        torch.from_numpy(features).float(),
        torch.from_numpy(np.stack([right(which, pixels) for pixels in finished])).float(),
    )
    train, calibrate = torch.arange(len(which)).split([len(which) - CALIBRATED, CALIBRATED])
    with Progress(disable=True) as progress:
        rounds = RUN.spec.discriminator.rounds
        expected_training.fit(network, seen.part(train), seen.part(calibrate), rounds, progress)
    return network.eval()


def auc_rows(looks: Looks) -> Iterator[Row]:
    """Yield a row per tier and judge: the area under the ROC curve for the finished image being wrong."""
    yield "light tier", "discriminator", *(f"after {after} of {STEPS} steps" for after in LOOKS)
    for tier in LIGHT:
        good = looks.right[tier] == 1
        judges = {"shipped": looks.by_shipped, "trained on images of as many steps": looks.by_trained}
        for name, confidence in judges.items():
            yield tier, name, *(f"{area_under_curve(confidence[tier, after], good):.3f}" for after in LOOKS)


class Ways:
    """Outcomes of light images that are judged when they are finished, earlier, or both."""

    def __init__(self, looks: Looks) -> None:
        """Take the tested prompts."""
        self._looks = looks

    def alone(self, tier: str) -> Outcome:
        """Return the outcome of a tier that makes every image."""
        return alone(image_s(tier), self._looks.right[tier])

    def finished(self, light: str, heavy: str) -> Iterator[Outcome]:
        """Yield the outcomes of a pair whose light images are judged when they are finished."""
        return self._judged(light, heavy, self._looks.confidence[light], self._begun_s(light, STEPS))

    def early(self, light: str, heavy: str, after: int, confidence: Array) -> Iterator[Outcome]:
        """Yield the outcomes of a pair whose light images are judged after some steps, by confidences (n,) then."""
        return self._judged(light, heavy, confidence, self._begun_s(light, after))

    def twice(self, light: str, heavy: str, after: int) -> Iterator[Outcome]:
        """Yield the outcomes of a pair whose light images are judged after some steps, and if they are finished."""
        first, n = self._looks.by_trained[light, after], len(self._looks.right[light])
        for ratio in RATIOS[1:]:
            is_stopped = np.isin(np.arange(n), np.argsort(first, kind="stable")[: round(ratio * n)])
            confidence = np.where(is_stopped, -1.0, self._looks.confidence[light])
            full_s = self._begun_s(light, STEPS) + judge_s()
            deferred_s = np.where(is_stopped, self._begun_s(light, after), full_s) + image_s(heavy)
            kept, deferred = alone(full_s, self._looks.right[light]), (deferred_s, self._looks.right[heavy])
            yield from deferring(confidence, kept, deferred, least=ratio)

    def _begun_s(self, light: str, steps: int) -> float:
        """Return the GPU seconds of some steps of a light image and of judging it once."""
        return image_s(light, steps) + judge_s()

    def _judged(self, light: str, heavy: str, confidence: Array, deferred_s: float) -> Iterator[Outcome]:
        kept = alone(self._begun_s(light, STEPS), self._looks.right[light])
        return deferring(confidence, kept, alone(deferred_s + image_s(heavy), self._looks.right[heavy]))


def fronts(looks: Looks, pairs: Sequence[tuple[str, str]], others: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Return the outcomes of pairs of tiers by when their light images are judged, each with those of `others`."""
    ways = Ways(looks)
    by_look = {"finished": [ways.finished(*pair) for pair in pairs]}
    for after in LOOKS[:-1]:
        for name, judge in (("shipped", looks.by_shipped), ("trained for it", looks.by_trained)):
            by_look[f"after {after} steps, {name}"] = [ways.early(*p, after, judge[p[0], after]) for p in pairs]
        by_look[f"after {after} steps, trained for it, and finished"] = [ways.twice(*pair, after) for pair in pairs]
    return {name: [*others, *itertools.chain(*outcomes)] for name, outcomes in by_look.items()}


def main() -> None:
    """Print the tables, each with a sentence that says what it is of."""
    looks = looked()
    ways = Ways(looks)
    print(
        f"Light images of {TESTED} prompts that nothing was trained on, judged by what a part of the steps predicts: "
        "the area under the ROC curve for the finished image being wrong.\n"
    )
    print(markdown(auc_rows(looks)))
    print(
        "\nWhat a service reaches at equal GPU seconds per request, by when the images of small-8 and large-8 are "
        "judged, with 90% intervals of the difference from judging finished ones. small-1 has a single step.\n"
    )
    others = [ways.alone(tier) for tier in TIERS]
    others += itertools.chain(*(ways.finished("small-1", heavy) for heavy in TIERS if heavy != "small-1"))
    print(markdown(rows_of(fronts(looks, PAIRS, others))))
    for light, heavy in PAIRS:
        print(f"\nBy {light} and {heavy} alone:\n")
        tiers = [ways.alone(light), ways.alone(heavy)]
        print(markdown(rows_of(fronts(looks, [(light, heavy)], tiers), PAIR_COSTS)))


if __name__ == "__main__":
    main()
