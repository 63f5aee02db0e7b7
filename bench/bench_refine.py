"""Whether refining deferred images pays, on the example models: `python bench/bench_refine.py`.

A heavy tier can begin with the light image in place of noise and make the last of its steps alone (image-to-image).
Fewer steps can be had without the light image too: by a tier that has no more of them. Refining pays where it is better
than both. Prints Markdown. What reading the light image takes is not counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from drawn import RUN, TIERS, Array, Numbers, confidences, image_s, in_steps, judge_s, prompts, refined, right, whole
from fronts import RESAMPLES, alone, deferring, rows_of, signed
from hadis_profiler.offline.hull import Outcome, hull_at
from hadis_profiler.offline.prompts import split
from hadis_profiler.offline.routing import resampled, with_interval
from hadis_profiler.offline.routing_report import Row, markdown

PROMPTS, DEFERRED = 400, 0.4
STRENGTHS = {"large-20": (0.1, 0.25, 0.5, 0.75, 0.9)}
"""They make 2, 5, 10, 15 and 18 of its steps."""
PAIRS = (("small-1", "large-20"), ("large-1", "large-20"), ("large-5", "large-20"))


@dataclass(frozen=True)
class Made:
    """What a tier makes of the prompts (n): GPU seconds per image, which are right, and the confidence in them."""

    seconds: float
    right: Array
    confidence: Array


@dataclass(frozen=True)
class Refinement:
    """Deferred images of a light tier as a heavy one refines them, and as it makes them of noise in as many steps."""

    light: str
    heavy: str
    strength: float
    steps: int
    seconds: float
    right: Array
    """Of all prompts (n,); NaN where the light image is not deferred."""
    from_noise: Array
    """Of all prompts (n,)."""


class Scenes:
    """The prompts as they came out of every tier, also in fewer steps than its own, and refined."""

    def __init__(self) -> None:
        """Make the images that no run before has made."""
        self._which = split(len(prompts()), RUN.spec.seed).test[:PROMPTS]
        self.tiers = {tier: self._made(tier, TIERS[tier].steps) for tier in TIERS}
        self.hasty = {
            (tier, steps): self._made(tier, steps)
            for tier, strengths in STRENGTHS.items()
            for steps in (_steps(tier, strength) for strength in strengths)
        }
        self.refinements = [self._refinement(*pair, strength) for pair in PAIRS for strength in STRENGTHS[pair[1]]]

    def deferred(self, light: str) -> Numbers:
        """Return which of the prompts have the least confident images of a tier."""
        order = np.argsort(self.tiers[light].confidence, kind="stable")
        return np.sort(order[: round(DEFERRED * PROMPTS)])

    def _made(self, tier: str, steps: int) -> Made:
        is_own = steps == TIERS[tier].steps
        pixels = whole(tier, self._which) if is_own else in_steps(tier, self._which, steps)
        scores = right(self._which, pixels)
        return Made(image_s(tier, steps), scores, confidences(tier, self._which, pixels))

    def _refinement(self, light: str, heavy: str, strength: float) -> Refinement:
        deferred, steps = self.deferred(light), _steps(heavy, strength)
        which, scores, from_noise = self._which[deferred], np.full(PROMPTS, np.nan), self.hasty[heavy, steps].right
        scores[deferred] = right(which, refined(heavy, which, light, strength))
        return Refinement(light, heavy, strength, steps, image_s(heavy, steps), scores, from_noise)


def _steps(tier: str, strength: float) -> int:
    """Return how many steps a tier makes at a strength, as diffusers counts them."""
    return int(TIERS[tier].steps * strength)


def deferred_rows(scenes: Scenes) -> Iterator[Row]:
    """Yield a row per refinement: what it makes of the deferred images, beside the ways without it."""
    yield (
        "light tier, kept",
        "heavy tier, redrawn",
        "strength",
        "steps",
        "GPU s per image",
        "refined",
        "keep some, redraw others",
        "refining is better by",
        "from noise in as many steps",
        "refining is better by",
    )
    weights = resampled(round(DEFERRED * PROMPTS), RESAMPLES, np.random.default_rng(0))
    for one in scenes.refinements:
        which = scenes.deferred(one.light)
        scores, from_noise = one.right[which] @ weights, one.from_noise[which] @ weights
        line = _line(scenes, one, which, weights)
        yield (
            f"{one.light}, {scenes.tiers[one.light].right[which].mean():.3f}",
            f"{one.heavy}, {scenes.tiers[one.heavy].right[which].mean():.3f}",
            f"{one.strength:g}",
            f"{one.steps}",
            f"{one.seconds:.4f}",
            f"{scores[0]:.3f}",
            f"{line[0]:.3f}",
            signed(with_interval(scores - line)),
            f"{from_noise[0]:.3f}",
            signed(with_interval(scores - from_noise)),
        )


def _line(scenes: Scenes, one: Refinement, which: Numbers, weights: Array) -> Array:
    """Return what keeping some and redrawing others by any heavier tier reaches at a refinement's cost (w,)."""
    light = scenes.tiers[one.light]
    heavier = [made for made in scenes.tiers.values() if made.seconds > light.seconds]
    costs = np.array([0.0, *(made.seconds for made in heavier)])
    scores = np.stack([made.right[which] for made in (light, *heavier)]) @ weights
    return np.array([hull_at(np.stack([costs, score], 1), [one.seconds])[0] for score in scores.T])


def redrawing(tiers: Iterable[Made]) -> list[Outcome]:
    """Return the outcomes of tiers alone, and of every pair of them."""
    by_cost = sorted(tiers, key=lambda made: made.seconds)
    outcomes = [alone(made.seconds, made.right) for made in by_cost]
    for light, heavy in itertools.combinations(by_cost, 2):
        outcomes += _pair(light, heavy.seconds, heavy.right)
    return outcomes


def refining(scenes: Scenes, refinements: Sequence[Refinement]) -> list[Outcome]:
    """Return the outcomes of pairs whose deferred images are refined."""
    pairs = (_pair(scenes.tiers[one.light], one.seconds, one.right, DEFERRED) for one in refinements)
    return list(itertools.chain(*pairs))


def _pair(light: Made, heavy_s: float, scores: Array, most: float = 1.0) -> Iterator[Outcome]:
    kept_s = light.seconds + judge_s()
    return deferring(light.confidence, alone(kept_s, light.right), alone(kept_s + heavy_s, scores), most)


def main() -> None:
    """Print the tables, each with a sentence that says what it is of."""
    scenes = Scenes()
    print(
        f"Of {PROMPTS} prompts that nothing was trained on, the {DEFERRED:.0%} of a light tier's images that the "
        "shipped discriminator trusts least: the share that is right when they are kept, redrawn, refined, or drawn "
        "from noise in as many steps as refining takes. Differences have 90% intervals.\n"
    )
    print(markdown(deferred_rows(scenes)))
    print(
        "\nWhat a service reaches at equal GPU seconds per request, by every tier alone and by the discriminator: the "
        "share of scenes drawn right. A way that has more to choose from chooses on the prompts that it is judged by, "
        "which flatters it.\n"
    )
    today = redrawing(scenes.tiers.values())
    refined_too = refining(scenes, scenes.refinements)
    print(markdown(rows_of({"the profile's tiers": today, "and refining": today + refined_too})))
    print("\nThe same where each number of steps above makes a tier of its own:\n")
    with_hasty = redrawing([*scenes.tiers.values(), *scenes.hasty.values()])
    ways = {"the profile's tiers": today, "and tiers of fewer steps": with_hasty}
    print(markdown(rows_of(ways)))
    print("\nAnd refining beside those:\n")
    print(markdown(rows_of({"tiers of fewer steps": with_hasty, "and refining": with_hasty + refined_too})))


if __name__ == "__main__":
    main()
