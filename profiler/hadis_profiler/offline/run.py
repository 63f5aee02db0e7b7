"""The stages in their order. Each keeps its result, so that a run that was killed goes on where it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from hadis.api.resources import CascadeProfile, Configuration
from hadis_router.difficulty.features import features as text_features
from hadis_router.difficulty.prompt_text import read_part
from hadis_worker.gpu import pick_device
from rich.progress import Progress

from hadis_profiler.offline import (
    checks,
    difficulty,
    discriminator,
    duration,
    features,
    images,
    latency,
    ngrams,
    quality,
    store,
    table,
)
from hadis_profiler.offline.difficulty import DifficultyFit
from hadis_profiler.offline.discriminator import Discrimination
from hadis_profiler.offline.features import ImageFeatures
from hadis_profiler.offline.latency import TierLatency
from hadis_profiler.offline.notes import Notes
from hadis_profiler.offline.prompts import Prompts, Split, read_prompts, split
from hadis_profiler.offline.quality import Row
from hadis_profiler.offline.run_notes import notes_of
from hadis_profiler.offline.scorers import load_scorer
from hadis_profiler.offline.spec import Run
from hadis_profiler.offline.table import Hardware, Measurements
from hadis_profiler.offline.weights import shared_weights


@dataclass
class Stages:
    """The stages of one run; each property does its stage, and those before it, once."""

    run: Run
    progress: Progress
    say: Callable[[str], None]

    def do(self, stage: str) -> None:
        """Do one stage and what it needs."""
        getattr(self, stage)

    @cached_property
    def device(self) -> str:
        """The device that everything is computed on."""
        return pick_device(self.run.spec.device)

    @cached_property
    def prompts(self) -> Prompts:
        """The prompts, once all else was found right that can be checked before an image is made."""
        checks.check(self.run)
        prompts = read_prompts(self.run)
        self.say(prompts.note)
        return prompts

    @cached_property
    def split(self) -> Split:
        """Which of the kept prompts are trained on, calibrated on, and measured on."""
        return split(len(self.kept), self.run.spec.seed)

    @cached_property
    def latency(self) -> dict[str, TierLatency]:
        """Times of batches by tier."""
        self.say(duration.of_latency(self.run))
        return latency.measure(self.run, self.device, self.progress, self.say)

    @cached_property
    def images(self) -> bool:
        """True once every image is in the work folder."""
        texts = self.prompts.texts
        batches = {name: measured.best.batch for name, measured in self.latency.items()}
        missing = {tier.name: len(images.missing(self.run, tier, len(texts))) for tier in self.run.spec.tiers}
        self.say(duration.of_images(missing, self.latency))
        images.generate_all(self.run, texts, self.device, batches, self.progress, self.say)
        return True

    @cached_property
    def kept(self) -> list[str]:
        """The prompts that every tier has an image of."""
        assert self.images
        texts = self.prompts.texts
        kept = images.kept(self.run, texts)
        if out := len(texts) - len(kept):
            self.say(f"{out} prompts are left out of every tier: a safety checker filtered an image of theirs")
        return kept

    @cached_property
    def features(self) -> ImageFeatures:
        """Features and scores of every image."""
        kept, test = self.kept, self.split.test.tolist()
        return features.extract(self.run, kept, load_scorer(self.run, self.device), test, self.progress)

    @cached_property
    def difficulty(self) -> DifficultyFit:
        """Weights of the text features, and of n-grams where they predict better."""
        tokens = self.latency[self.run.spec.tiers[0].name].prompt_tokens
        prompts = [read_part(prompt, tokens) for prompt in self.kept]
        texts = np.stack([text_features(prompt) for prompt in prompts])
        held_out = np.concatenate([self.split.calibrate, self.split.test])
        examples = self.features.quality_gap, self.split.train, held_out
        fit = ngrams.with_ngrams(difficulty.fit(texts, *examples), prompts, *examples)
        verdict = "the text predicts which prompts are hard" if fit.predicts else "THE TEXT PREDICTS NOTHING HERE"
        self.say(
            f"difficulty: rank correlation {fit.held_out:.3f} with the quality gap on {len(held_out)} held-out prompts "
            f"(chance: {fit.noise:.3f}; weights by mutual information: {fit.held_out_by_information:.3f}): {verdict}"
        )
        if fit.ngrams is not None:
            self.say(f"difficulty: {fit.ngrams.words}")
        return fit

    @cached_property
    def discriminator(self) -> Discrimination:
        """The discriminator's confidence in every image."""
        texts = self.kept
        trained = discriminator.train(self.run, texts, self.features, self.split, self.device, self.progress)
        self.say(
            f"discriminator: area under the ROC curve {trained.auc:.3f} on held-out light images, of which "
            f"{trained.good_share:.0%} are good"
        )
        return trained

    @cached_property
    def quality(self) -> list[Row]:
        """The distance of every configuration."""
        test, spec, measured = self.split.test, self.run.spec, self.features
        scores = None if measured.scores is None else measured.scores[:, test]
        hard, confidence = self.difficulty.scores[test], self.discriminator.confidence[:, test]
        fields = Row.__match_args__  # rows of another form are made again
        inputs = fields, spec.grid, hard.tolist(), confidence.tolist(), float(measured.by_tier.sum()), spec.scorer
        path, made_from = self.run.work / "quality.json", store.mark(*inputs)
        kept = store.load(path, made_from)
        if kept is not None:
            return [Row(**row) for row in kept]
        tiers = len(spec.tiers)
        task = self.progress.add_task("quality", total=tiers + tiers * (tiers - 1) * spec.grid**2)
        by_tier, reference = measured.by_tier[:, test], measured.reference
        grid = quality.grid(
            by_tier, scores, reference, hard, confidence, spec.grid, lambda: self.progress.advance(task)
        )
        rows = list(grid)
        store.save(path, made_from, [dataclasses.asdict(row) for row in rows])
        singles = [f"{spec.tiers[row.light].name} {row.quality:.4g}" for row in rows if row.light == row.heavy]
        self.say(f"quality (a distance, lower is better) on {len(test)} prompts: {', '.join(singles)}")
        return rows

    @cached_property
    def measured(self) -> Measurements:
        """Everything that a profile is made of."""
        rows = self.quality  # first, so that the prompts are checked before anything is measured
        return Measurements(
            self.latency,
            self.features,
            self.difficulty,
            self.discriminator,
            rows,
            self.split.test,
            self._hardware(),
            shared_weights(self.run, self.latency, self.device),
        )

    @cached_property
    def table(self) -> CascadeProfile:
        """The profile."""
        measured, task = self.measured, self.progress.add_task("intervals", total=None)
        profile = table.build(self.run, measured, lambda: self.progress.advance(task))
        self.say(_front_summary(profile.spec.configurations))
        return profile

    @cached_property
    def notes(self) -> Notes:
        """What a report shows beside the profile."""
        return notes_of(self.run, self.measured, self.kept)

    def _hardware(self) -> Hardware:
        if self.device != "cuda":
            return Hardware("cpu", 0)
        properties = torch.cuda.get_device_properties(0)
        return Hardware(properties.name, properties.total_memory)


def _front_summary(configurations: tuple[Configuration, ...]) -> str:
    """Return a sentence on the rows of the front: what choosing prompts is worth, and how well quality is known."""
    pairs = [c for c in configurations if "random" in c.measures]
    known = [c for c in configurations if "qualityLow" in c.measures]
    text = f"table: {len(configurations)} configurations"
    if pairs:
        gain = float(np.mean([c.measures["random"] - c.quality for c in pairs]))
        text += f"; choosing prompts in place of drawing them at random is worth {gain:.3g} on the front"
    if known:
        half = np.median([c.measures["qualityHigh"] - c.measures["qualityLow"] for c in known]) / 2
        text += f"; there the 90% interval of a quality is +-{half:.2g}"
    return text
