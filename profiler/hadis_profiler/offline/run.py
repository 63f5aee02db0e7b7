"""The stages in their order. Each keeps what it made, so that a run that was killed goes on where it was."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from hadis.api.resources import CascadeProfile
from hadis_router.features import features
from hadis_worker.gpu import pick_device
from rich.progress import Progress

from hadis_profiler.offline import difficulty, discriminate, images, latency, look, quality, store, table
from hadis_profiler.offline.difficulty import Fitted
from hadis_profiler.offline.discriminate import Judged
from hadis_profiler.offline.look import Looks
from hadis_profiler.offline.prompts import Prompts, Split, read_prompts, split
from hadis_profiler.offline.quality import Row
from hadis_profiler.offline.scorers import load_scorer
from hadis_profiler.offline.spec import Run

STAGES = ("latency", "images", "difficulty", "discriminator", "quality", "table")
NOTES = "notes.json"


@dataclass
class Stages:
    """The stages of one run; each property does its stage, and those before it, once."""

    run: Run
    progress: Progress
    say: Callable[[str], None]
    notes: dict[str, Any] = field(default_factory=dict)

    def upto(self, stage: str) -> CascadeProfile | None:
        """Do a stage and what it needs; return the profile of the last one."""
        if stage == "latency":
            self.latency  # noqa: B018 (a cached property is a stage)
        elif stage == "images":
            self.images  # noqa: B018
        elif stage == "difficulty":
            self.difficulty  # noqa: B018
        elif stage == "discriminator":
            self.judged  # noqa: B018
        elif stage == "quality":
            self.rows  # noqa: B018
        else:
            return self.table
        return None

    @cached_property
    def device(self) -> str:
        """What is computed on."""
        return pick_device(self.run.spec.device)

    @cached_property
    def prompts(self) -> Prompts:
        """The prompts."""
        found = read_prompts(self.run)
        self.say(found.note)
        return found

    @cached_property
    def split(self) -> Split:
        """Who learns from which prompts."""
        return split(len(self.prompts.texts), self.run.spec.seed)

    @cached_property
    def latency(self) -> dict[str, Any]:
        """Times of batches by tier."""
        threads = torch.get_num_threads()
        try:
            return latency.measure(self.run, self.device, self.progress, self.say)
        finally:
            torch.set_num_threads(threads)

    @cached_property
    def images(self) -> bool:
        """Every image is there."""
        best = {name: max(value["points"], key=lambda p: p["batch"] / p["p50_s"])["batch"]
                for name, value in self.latency.items()}  # fmt: skip
        images.paint_all(self.run, self.prompts.texts, self.device, best, self.progress, self.say)
        return True

    @cached_property
    def looks(self) -> Looks:
        """Features and scores of every image."""
        assert self.images
        scorer, test = load_scorer(self.run, self.device), self.split.test.tolist()
        return look.look(self.run, self.prompts.texts, scorer, test, self.progress)

    @cached_property
    def difficulty(self) -> Fitted:
        """Weights of the text features."""
        texts = np.stack([features(prompt) for prompt in self.prompts.texts])
        gap = self.looks.badness(0) - self.looks.badness(len(self.run.spec.tiers) - 1)
        held_out = np.concatenate([self.split.calibrate, self.split.test])
        found = difficulty.fit(texts, gap, self.split.train, held_out)
        verdict = "the text tells which prompts are hard" if found.predicts else "THE TEXT PREDICTS NOTHING HERE"
        self.say(
            f"difficulty: rank correlation {found.held_out:.3f} with the quality gap on {len(held_out)} other prompts "
            f"(chance: {found.noise:.3f}; weights by mutual information: {found.by_information:.3f}): {verdict}"
        )
        self.notes["difficulty"] = {
            "heldOut": found.held_out, "noise": found.noise, "byInformation": found.by_information,
            "scores": np.histogram(found.scores, 30)[0].tolist(),
            "range": [float(found.scores.min()), float(found.scores.max())],
        }  # fmt: skip
        return found

    @cached_property
    def judged(self) -> Judged:
        """The discriminator's confidence in every image."""
        found = discriminate.train(self.run, self.prompts.texts, self.looks, self.split, self.device, self.progress)
        good = discriminate.good_images(self.looks)[:-1][:, self.split.test].mean()
        self.say(f"discriminator: area under the ROC curve {found.auc:.3f} on held-out images, {good:.0%} of them good")
        self.notes["discriminator"] = {"auc": found.auc, "good": float(good), "calibration": found.calibration}
        return found

    @cached_property
    def rows(self) -> list[Row]:
        """The distance of every configuration."""
        test, spec = self.split.test, self.run.spec
        scores = None if self.looks.scores is None else self.looks.scores[:, test]
        hard, sure = self.difficulty.scores[test], self.judged.confidence[:, test]
        made_from = store.mark(spec.grid, hard.tolist(), sure.tolist(), float(self.looks.features.sum()), spec.scorer)
        known = store.load(self.run.work / "quality.json", made_from)
        if known is not None:
            return [Row(**row) for row in known]
        tiers = len(spec.tiers)
        task = self.progress.add_task("quality", total=tiers + tiers * (tiers - 1) // 2 * spec.grid**2)
        found = list(quality.grid(self.looks.features[:, test], scores, self.looks.reference, hard, sure, spec.grid,
                                  lambda: self.progress.advance(task)))  # fmt: skip
        store.save(self.run.work / "quality.json", made_from, [dataclasses.asdict(row) for row in found])
        singles = [f"{spec.tiers[row.light].name} {row.quality:.4g}" for row in found if row.light == row.heavy]
        self.say(f"quality (a distance, lower is better) on {len(test)} prompts: {', '.join(singles)}")
        return found

    @cached_property
    def table(self) -> CascadeProfile:
        """The profile."""
        rows, task = self.rows, self.progress.add_task("intervals", total=None)
        device = ("cpu", 0)
        if self.device == "cuda":
            properties = torch.cuda.get_device_properties(0)
            device = properties.name, properties.total_memory
        profile = table.build(self.run, self.latency, self.looks, self.difficulty, self.judged, rows, self.split.test,
                              device, lambda: self.progress.advance(task))  # fmt: skip
        self._tell_of(profile)
        self.notes["latency"] = self.latency
        self.notes["samples"] = self._samples()
        store.write(self.run.work / NOTES, json.dumps(self.notes, indent=1).encode())
        return profile

    def _tell_of(self, profile: CascadeProfile) -> None:
        rows = [c for c in profile.spec.configurations if "random" in c.measures or "qualityLow" in c.measures]
        pairs = [c for c in rows if "random" in c.measures]
        gain = float(np.mean([c.measures["random"] - c.quality for c in pairs])) if pairs else 0.0
        text = f"table: {len(rows)} of {len(profile.spec.configurations)} configurations are on the front"
        if pairs:
            text += f"; to choose prompts rather than draw lots is worth {gain:.3g} on them"
        widths = [c.measures["qualityHigh"] - c.measures["qualityLow"] for c in rows if "qualityLow" in c.measures]
        if widths:
            text += f"; a quality is known to {np.median(widths) / 2:+.2g} (90%)".replace("+", "+-")
        self.say(text)

    def _samples(self) -> list[dict[str, Any]]:
        """Return the prompts on which the tiers disagree most and least."""
        gap = self.looks.badness(0) - self.looks.badness(len(self.run.spec.tiers) - 1)
        order = self.split.test[np.argsort(-gap[self.split.test], kind="stable")]
        chosen = [*order[:4].tolist(), *order[-2:].tolist()]
        return [
            {"index": i, "prompt": self.prompts.texts[i], "gap": float(gap[i]),
             "confidence": [round(float(c), 3) for c in self.judged.confidence[:, i]]}
            for i in chosen
        ]  # fmt: skip
