"""Stage discriminator: a small network that predicts which light images are good enough, with a probability."""

from __future__ import annotations

import collections
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from hadis_worker.discriminator import (
    ClipConfig,
    ClipDiscriminator,
    Discriminator,
    ExpectedConfig,
    ExpectedDiscriminator,
    SmallConfig,
    SmallDiscriminator,
    TextStates,
    load_discriminator,
)
from hadis_worker.loading.faults import explain
from numpy.typing import NDArray
from PIL import Image
from rich.progress import Progress
from torch import nn

from hadis_profiler.offline import expected_training, store
from hadis_profiler.offline.descent import descend
from hadis_profiler.offline.expected_training import seen, telling
from hadis_profiler.offline.features import ImageFeatures
from hadis_profiler.offline.images import in_parts, read_images
from hadis_profiler.offline.latency import run_threads
from hadis_profiler.offline.notes import CalibrationBin
from hadis_profiler.offline.prompts import Split
from hadis_profiler.offline.spec import Run, SpecError

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
FOLDER = "discriminator"
TIMED_BATCH = 8
_VOCABULARY = 4000
_RATE = 2e-3
_CHANNELS = {32: (32, 64, 96), 64: (32, 64, 96, 96), 128: (32, 64, 96, 96, 96)}
_BINS = 10


@dataclass(frozen=True)
class Discrimination:
    """The confidence in each tier's images (k, n), and how good the discriminator is on held-out light ones."""

    confidence: Array
    auc: float
    """Area under the ROC curve."""
    good_share: float
    calibration: tuple[CalibrationBin, ...]
    seconds: float
    """Of a batch of `TIMED_BATCH` images."""


@dataclass(frozen=True)
class _Examples:
    """What the network reads of images and prompts, and whether each image is good (1 or 0), on its device."""

    images: torch.Tensor
    texts: torch.Tensor
    target: torch.Tensor


def good_images(features: ImageFeatures) -> Flags:
    """Return which images (k, n) are good enough.

    Where scores are 0 or 1, they say so. Of other scores: those no worse than the heaviest tier's of the same prompt,
    or than its median. Without scores: the heaviest tier's are, and of the others those that come as near to it as the
    nearest half of the next lighter tier.
    """
    if features.scores is not None and np.isin(features.scores, (0.0, 1.0)).all():
        return np.asarray(features.scores == 1.0)
    if features.scores is not None:
        enough = np.minimum(features.scores[-1], np.median(features.scores[-1]))
        return np.asarray(features.scores >= enough - 1e-9)
    errors = np.stack([features.error(k) for k in range(len(features.by_tier))])
    return np.asarray(errors <= np.median(errors[-2]))


def train(
    run: Run, prompts: Sequence[str], features: ImageFeatures, split: Split, device: str, progress: Progress
) -> Discrimination:
    """Train on images of the training prompts, calibrate, and rate every image."""
    good = good_images(features)
    made_from = store.mark(run.spec.discriminator.model_dump(), run.spec.seed, good.tolist(), list(prompts))
    path, folder = run.work / "discriminator.json", run.work / FOLDER
    if store.load(path, made_from) is None or not (folder / "model.safetensors").exists():
        torch.manual_seed(run.spec.seed)
        told = telling(features.by_tier)
        network = untrained(run, prompts, told.shape[-1]).to(device)
        rounds = run.spec.discriminator.rounds
        if isinstance(network, ExpectedDiscriminator):
            trained_on, held_out = (
                seen(run, network, prompts, told, good, part) for part in (split.train, split.calibrate)
            )
            expected_training.fit(network, trained_on, held_out, rounds, progress)
        else:
            _fit(network, _examples(run, network, prompts, good, split.train), rounds, progress)
            _calibrate(network, _examples(run, network, prompts, good, split.calibrate))
        network.save(folder)
        store.save(path, made_from, True)
    network = load_discriminator(folder).to(device)
    confidence = _confidence(run, network, prompts, progress)
    rated, actual = confidence[:-1][:, split.test].ravel(), good[:-1][:, split.test].ravel()
    with run_threads(run, device):
        seconds = _time(network, prompts)
    trained = Discrimination(
        confidence, area_under_curve(rated, actual), float(actual.mean()), calibration(rated, actual), seconds
    )
    _write_card(folder, run, trained, len(split.train), len(split.test))
    return trained


def area_under_curve(scores: Array, good: Flags) -> float:
    """Return the share of (good, poor) pairs that the scores put in order, ties by half; 0.5 without any pair."""
    if good.all() or not good.any():
        return 0.5
    _, inverse, ties = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[inverse]
    n = int(good.sum())
    return float((ranks[good].sum() - n * (n + 1) / 2) / (n * (len(good) - n)))


def calibration(confidence: Array, good: Flags) -> tuple[CalibrationBin, ...]:
    """Return the bins of equal width that hold any image: their mean confidence and the share that is good."""
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    members = (bins == b for b in range(_BINS))
    return tuple(
        CalibrationBin(confidence=confidence[m].mean(), good=good[m].mean(), images=m.sum()) for m in members if m.any()
    )


def untrained(run: Run, prompts: Sequence[str], features: int = 1) -> Discriminator:
    """Return the network that a spec names, for prompts as these and so many features of a scorer that tell.

    Raises SpecError where what it reads by cannot be loaded.
    """
    spec = run.spec.discriminator
    if spec.clip is None and spec.text_encoder is None:
        return SmallDiscriminator(SmallConfig(_vocabulary(prompts), spec.image_size, _CHANNELS[spec.image_size]))
    name = spec.clip or spec.text_encoder or ""
    folder = run.path(name) if spec.clip else run.models / name
    source = str(folder) if folder.is_dir() else name
    try:
        if spec.clip:
            return ClipDiscriminator.of(source, ClipConfig())
        channels = _CHANNELS[spec.image_size][:-1]
        return ExpectedDiscriminator(ExpectedConfig(features, spec.image_size, channels), TextStates.of(source))
    except (OSError, ValueError) as error:
        field = "clip" if spec.clip else "textEncoder"
        raise SpecError(f"discriminator.{field}: {name} cannot be loaded: {explain(error)}") from None


def _examples(
    run: Run, network: Discriminator, prompts: Sequence[str], good: Flags, which: NDArray[np.intp]
) -> _Examples:
    """Return the light tiers' images of some prompts."""
    images: list[torch.Tensor] = []
    texts: list[torch.Tensor] = []
    for tier in run.spec.tiers[:-1]:
        for part in in_parts(which):
            read = network.inputs(list(read_images(run, tier, part.tolist())), [prompts[i] for i in part])
            images.append(read[0])
            texts.append(read[1])
    device = next(network.parameters()).device
    target = torch.from_numpy(good[:-1][:, which].ravel()).float()
    return _Examples(torch.cat(images).to(device), torch.cat(texts).to(device), target.to(device))


def _fit(network: Discriminator, examples: _Examples, rounds: int, progress: Progress) -> None:
    def loss(part: torch.Tensor) -> torch.Tensor:
        logits = network(examples.images[part], examples.texts[part])
        return nn.functional.binary_cross_entropy_with_logits(logits, examples.target[part])

    network.train()
    descend(network.parameters(), loss, len(examples.target), rounds, _RATE, progress, "discriminator")
    network.eval()


@torch.no_grad()
def _calibrate(network: Discriminator, examples: _Examples) -> None:
    """Choose the temperature of the least loss on images that were not trained on (Guo et al. 2017, section 4.2)."""
    parts = zip(examples.images.split(256), examples.texts.split(256), strict=True)
    logits = torch.cat([network(images, texts) for images, texts in parts])
    choices = torch.linspace(0.5, 8, 76)
    losses = [nn.functional.binary_cross_entropy_with_logits(logits / t, examples.target).item() for t in choices]
    network.calibrate(float(choices[int(np.argmin(losses))]))


def _confidence(run: Run, network: Discriminator, prompts: Sequence[str], progress: Progress) -> Array:
    task = progress.add_task("confidence", total=len(run.spec.tiers) * len(prompts))
    confidence = np.zeros((len(run.spec.tiers), len(prompts)))
    for k, tier in enumerate(run.spec.tiers):
        for start in range(0, len(prompts), 64):
            part = range(start, min(len(prompts), start + 64))
            confidence[k, part.start : part.stop] = network.confidence(
                list(read_images(run, tier, part)), [prompts[i] for i in part]
            )
            progress.advance(task, len(part))
    return confidence


def _time(network: Discriminator, prompts: Sequence[str]) -> float:
    """Return the median seconds of a batch, reading the pixels included."""
    size = network.image_size
    images = [Image.new("RGB", (size, size))] * TIMED_BATCH
    texts = [prompts[i % len(prompts)] for i in range(TIMED_BATCH)]
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        network.confidence(images, texts)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def _vocabulary(prompts: Sequence[str]) -> tuple[str, ...]:
    counts = collections.Counter(word for prompt in prompts for word in re.findall(r"\w+", prompt.lower()))
    return tuple(sorted(word for word, _ in counts.most_common(_VOCABULARY)))


def _write_card(folder: Path, run: Run, trained: Discrimination, train: int, held_out: int) -> None:
    """Write the model card."""
    trained_on = run.spec.tiers if run.spec.discriminator.text_encoder else run.spec.tiers[:-1]
    tiers = ", ".join(tier.name for tier in trained_on)
    rows = "\n".join(f"| {b.confidence:.2f} | {b.good:.2f} | {b.images} |" for b in trained.calibration)
    text = (
        f"# Discriminator of {run.spec.name}\n\nReads a light image and its prompt and gives the probability that the "
        f"image is good enough. Trained on the images of {tiers} for {train} prompts; which of them are good was "
        f"decided by the scorer `{run.spec.scorer}`.\n\nOn {held_out} other prompts: area under the ROC curve "
        f"{trained.auc:.3f}; calibration:\n\n| confidence | share that is good | images |\n|---|---|---|\n{rows}\n\n"
        "Only for this cascade: it was trained on the faults of these models and on no others.\n"
    )
    store.write(folder / "README.md", text.encode())
