"""How a discriminator is trained: on parts of the training prompts and at last on all of them, then calibrated."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
)
from hadis_worker.loading.faults import explain
from numpy.typing import NDArray
from rich.progress import Progress
from torch import nn

from hadis_profiler.offline import expected_training
from hadis_profiler.offline.descent import descend
from hadis_profiler.offline.expected_training import Seen, informative, seen
from hadis_profiler.offline.features import ImageFeatures
from hadis_profiler.offline.images import in_parts, read_images
from hadis_profiler.offline.prompts import Split
from hadis_profiler.offline.spec import Run, SpecError

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
CURVE = (0.25, 0.5, 1.0)
"""Shares of the training prompts that the learning curve is of."""
_VOCABULARY = 4000
_RATE = 2e-3
_CHANNELS = {32: (32, 64, 96), 64: (32, 64, 96, 96), 128: (32, 64, 96, 96, 96)}
_MOST_SHIFT = 6.0
"""Of logits; beyond it an image would be good or poor whatever it shows."""


@dataclass(frozen=True)
class _Examples:
    """What the network reads of images and prompts, and whether each image is good (1 or 0), on its device."""

    images: torch.Tensor
    """(k, n, ...)."""
    texts: torch.Tensor
    """(k, n, ...)."""
    target: torch.Tensor
    """(k, n)."""

    def part(self, prompts: torch.Tensor) -> _Examples:
        """Return those of some of the prompts."""
        return _Examples(self.images[:, prompts], self.texts[:, prompts], self.target[:, prompts])


def learn(
    run: Run,
    prompts: Sequence[str],
    features: ImageFeatures,
    good: Flags,
    split: Split,
    device: str,
    progress: Progress,
) -> Iterator[tuple[int, Discriminator]]:
    """Train on parts of the training prompts and at last on all; yield each part's size and the network.

    It reads images of all tiers that make poor ones, and is calibrated for every tier.
    """
    features_by_tier, rounds = informative(features.by_tier), run.spec.discriminator.rounds
    some = [k for k in range(len(good)) if k < len(good) - 1 or not good[k].all()]
    order = torch.randperm(len(split.train))
    seen_parts: list[Seen] = []
    parts: list[_Examples] = []
    both = split.train, split.calibrate
    for share in CURVE:
        network = untrained(run, prompts, features_by_tier.shape[-1]).to(device)
        part = order[: max(1, round(share * len(order)))]
        if isinstance(network, ExpectedDiscriminator):
            seen_parts = seen_parts or [seen(run, network, prompts, features_by_tier, good, which) for which in both]
            expected_training.fit(network, seen_parts[0].part(part), seen_parts[1], rounds, progress)
        else:
            parts = parts or [_examples(run, network, prompts, good, some, which) for which in both]
            _fit(network, parts[0].part(part), rounds, progress)
            _calibrate(network, parts[1])
        raw = confidence_in(run, network, prompts, split.calibrate, progress)
        names = [tier.name for tier in run.spec.tiers]
        shifts = map(shift, raw, good[:, split.calibrate])
        network.calibrate(network.temperature, dict(zip(names, shifts, strict=True)))
        yield len(part), network


def shift(confidence: Array, good: Flags) -> float:
    """Return what to add to logits so that the mean confidence is the share that is good, as near as `_MOST_SHIFT`."""
    logits = np.log(confidence.clip(1e-9, 1 - 1e-9) / (1 - confidence.clip(1e-9, 1 - 1e-9)))
    low, high = -_MOST_SHIFT, _MOST_SHIFT
    for _ in range(30):
        middle = (low + high) / 2
        if (1 / (1 + np.exp(-logits - middle))).mean() < good.mean():
            low = middle
        else:
            high = middle
    return round((low + high) / 2, 4)


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
    run: Run, network: Discriminator, prompts: Sequence[str], good: Flags, tiers: list[int], which: NDArray[np.intp]
) -> _Examples:
    """Return some tiers' images of some prompts."""
    images: list[torch.Tensor] = []
    texts: list[torch.Tensor] = []
    for k in tiers:
        read = [
            network.inputs(list(read_images(run, run.spec.tiers[k], part.tolist())), [prompts[i] for i in part])
            for part in in_parts(which)
        ]
        images.append(torch.cat([each[0] for each in read]))
        texts.append(torch.cat([each[1] for each in read]))
    device = next(network.parameters()).device
    target = torch.from_numpy(good[tiers][:, which]).float()
    return _Examples(torch.stack(images).to(device), torch.stack(texts).to(device), target.to(device))


def _fit(network: Discriminator, examples: _Examples, rounds: int, progress: Progress) -> None:
    images, texts, target = (each.flatten(0, 1) for each in (examples.images, examples.texts, examples.target))

    def loss(part: torch.Tensor) -> torch.Tensor:
        return nn.functional.binary_cross_entropy_with_logits(network(images[part], texts[part]), target[part])

    network.train()
    descend(network.parameters(), loss, len(target), rounds, _RATE, progress, "discriminator")
    network.eval()


@torch.no_grad()
def _calibrate(network: Discriminator, examples: _Examples) -> None:
    """Choose the temperature of the least loss on images that were not trained on (Guo et al. 2017, section 4.2)."""
    images, texts, target = (each.flatten(0, 1) for each in (examples.images, examples.texts, examples.target))
    logits = torch.cat([network(*part) for part in zip(images.split(256), texts.split(256), strict=True)])
    choices = torch.linspace(0.5, 8, 76)
    losses = [nn.functional.binary_cross_entropy_with_logits(logits / t, target).item() for t in choices]
    network.calibrate(float(choices[int(np.argmin(losses))]), {})


def confidence_in(
    run: Run, network: Discriminator, prompts: Sequence[str], which: NDArray[np.intp], progress: Progress
) -> Array:
    """Return the confidence in every tier's images of some prompts (k, n)."""
    task = progress.add_task("confidence", total=len(run.spec.tiers) * len(which))
    confidence = np.zeros((len(run.spec.tiers), len(which)))
    for k, tier in enumerate(run.spec.tiers):
        for start in range(0, len(which), 64):
            part = which[start : start + 64].tolist()
            images = list(read_images(run, tier, part))
            confidence[k, start : start + 64] = network.confidence(images, [prompts[i] for i in part], tier.name)
            progress.advance(task, len(part))
    return confidence


def _vocabulary(prompts: Sequence[str]) -> tuple[str, ...]:
    counts = collections.Counter(word for prompt in prompts for word in re.findall(r"\w+", prompt.lower()))
    return tuple(sorted(word for word, _ in counts.most_common(_VOCABULARY)))
