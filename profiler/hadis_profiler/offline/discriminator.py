"""Stage discriminator: a small network that predicts which light images are good enough, with a probability."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from hadis_worker.discriminator import (
    Discriminator,
    load_discriminator,
)
from numpy.typing import NDArray
from PIL import Image
from rich.progress import Progress

from hadis_profiler.offline import store
from hadis_profiler.offline.features import ImageFeatures
from hadis_profiler.offline.latency import run_threads
from hadis_profiler.offline.learning import CURVE, confidence_in, learn
from hadis_profiler.offline.notes import CalibrationBin, LearningPoint
from hadis_profiler.offline.prompts import Split
from hadis_profiler.offline.ranking import area_under_curve, good_by_score
from hadis_profiler.offline.spec import Run

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
FOLDER = "discriminator"
TIMED_BATCH = 8
_BINS = 10


@dataclass(frozen=True)
class Discrimination:
    """The confidence in each tier's images (k, n), and how good the discriminator is on held-out light ones."""

    confidence: Array
    auc: float
    """Area under the ROC curve."""
    curve: tuple[LearningPoint, ...]
    """The same of networks that were trained on fewer prompts, and of this one."""
    good_share: float
    calibration: tuple[CalibrationBin, ...]
    seconds: float
    """Of a batch of `TIMED_BATCH` images."""


def good_images(features: ImageFeatures) -> Flags:
    """Return which images (k, n) are good enough.

    Where there are scores, they say so (`good_by_score`). Without: the heaviest tier's are, and of the others those
    that come as near to it as the nearest half of the next lighter tier.
    """
    if features.scores is not None:
        return good_by_score(features.scores)
    errors = np.stack([features.error(k) for k in range(len(features.by_tier))])
    return np.asarray(errors <= np.median(errors[-2]))


def train(
    run: Run, prompts: Sequence[str], features: ImageFeatures, split: Split, device: str, progress: Progress
) -> Discrimination:
    """Train on images of the training prompts, calibrate, and rate every image."""
    good = good_images(features)
    made_from = store.mark(run.spec.discriminator.model_dump(), run.spec.seed, good.tolist(), list(prompts), CURVE)
    path, folder = run.work / "discriminator.json", run.work / FOLDER
    curve = store.load(path, made_from)
    if curve is None or not (folder / "model.safetensors").exists():
        torch.manual_seed(run.spec.seed)
        curve = []
        for count, network in learn(run, prompts, features, good, split, device, progress):
            rated = confidence_in(run, network, prompts, split.test, progress)[:-1].ravel()
            curve.append((count, area_under_curve(rated, good[:-1][:, split.test].ravel())))
        network.save(folder)
        store.save(path, made_from, curve)
    network = load_discriminator(folder).to(device)
    confidence = confidence_in(run, network, prompts, np.arange(len(prompts)), progress)
    rated, actual = confidence[:-1][:, split.test].ravel(), good[:-1][:, split.test].ravel()
    with run_threads(run, device):
        seconds = _time(network, prompts, run.spec.tiers[0].name)
    trained = Discrimination(
        confidence,
        area_under_curve(rated, actual),
        tuple(LearningPoint(prompts=count, auc=auc) for count, auc in curve),
        float(actual.mean()),
        calibration(rated, actual),
        seconds,
    )
    _write_card(folder, run, trained, len(split.train), len(split.test))
    return trained


def calibration(confidence: Array, good: Flags) -> tuple[CalibrationBin, ...]:
    """Return the bins of equal width that hold any image: their mean confidence and the share that is good."""
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    members = (bins == b for b in range(_BINS))
    return tuple(
        CalibrationBin(confidence=confidence[m].mean(), good=good[m].mean(), images=m.sum()) for m in members if m.any()
    )


def _time(network: Discriminator, prompts: Sequence[str], tier: str) -> float:
    """Return the median seconds of a batch, reading the pixels included."""
    size = network.image_size
    images = [Image.new("RGB", (size, size))] * TIMED_BATCH
    texts = [prompts[i % len(prompts)] for i in range(TIMED_BATCH)]
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        network.confidence(images, texts, tier)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def _write_card(folder: Path, run: Run, trained: Discrimination, train: int, held_out: int) -> None:
    """Write the model card."""
    tiers = ", ".join(tier.name for tier in run.spec.tiers)
    rows = "\n".join(f"| {b.confidence:.2f} | {b.good:.2f} | {b.images} |" for b in trained.calibration)
    text = (
        f"# Discriminator of {run.spec.name}\n\nReads a light image and its prompt and gives the probability that the "
        f"image is good enough. Trained on the images of {tiers} for {train} prompts; which of them are good was "
        f"decided by the scorer `{run.spec.scorer}`.\n\nOn {held_out} other prompts: area under the ROC curve "
        f"{trained.auc:.3f}; calibration:\n\n| confidence | share that is good | images |\n|---|---|---|\n{rows}\n\n"
        "Only for this cascade: it was trained on the faults of these models and on no others.\n"
    )
    store.write(folder / "README.md", text.encode())
