"""Train the discriminator that expects what a scorer would see: image, then words, then how far apart is too far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from hadis_worker.discriminator import ExpectedDiscriminator, pixels
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor, nn

from hadis_profiler.offline.descent import descend
from hadis_profiler.offline.images import in_parts, read_images
from hadis_profiler.offline.spec import Run

Array = NDArray[np.float64]
_RATE = 3e-3
_TEXT_ROUNDS = 4
"""Rounds over the words for each one over the images, which are that much dearer."""
_VERDICT_STEPS = 400
_LEAST_DEVIATION = 0.05
"""Share of the mean deviation that each feature's counts as at least: what hardly ever varies tells little."""


@dataclass(frozen=True)
class Seen:
    """Images of k tiers for n prompts on the network's device: what is read of them, and what the scorer saw."""

    pixels: Tensor
    """(k, n, 3, size, size)."""
    states: Tensor
    """Of the prompts' words (n, T, w)."""
    features: Tensor
    """(k, n, d)."""
    good: Tensor
    """1 for images that are good enough, else 0 (k, n)."""

    def part(self, prompts: Tensor) -> Seen:
        """Return what is known of some of the prompts."""
        return Seen(self.pixels[:, prompts], self.states[prompts], self.features[:, prompts], self.good[:, prompts])


def informative(features: Array) -> Array:
    """Return those of features (k, n, d) that differ between a prompt's images; the others only repeat the prompt."""
    within = features.std(0).mean(0)
    return np.asarray(features[..., within > 1e-9 * max(1.0, float(within.max(initial=0.0)))])


def seen(
    run: Run,
    network: ExpectedDiscriminator,
    prompts: Sequence[str],
    features: Array,
    good: NDArray[np.bool_],
    which: NDArray[np.intp],
) -> Seen:
    """Return every tier's images of some prompts, with what the scorer saw in all (k, n, d), and which are good."""
    device = next(network.parameters()).device
    images = [
        torch.cat([pixels(list(read_images(run, tier, part.tolist())), network.image_size) for part in in_parts(which)])
        for tier in run.spec.tiers
    ]
    return Seen(
        torch.stack(images).to(device),
        torch.cat([network.text.read([prompts[i] for i in part]) for part in in_parts(which)]).to(device),
        torch.from_numpy(features[:, which]).float().to(device),
        torch.from_numpy(good[:, which]).float().to(device),
    )


def fit(network: ExpectedDiscriminator, train: Seen, calibrate: Seen, rounds: int, progress: Progress) -> None:
    """Train on some prompts' images, and learn from others' how far apart seen and expected may be."""
    flat = train.features.flatten(0, 1)
    deviation = flat.std(0)
    network.mean.copy_(flat.mean(0))
    network.std.copy_(deviation + _LEAST_DEVIATION * deviation.mean())
    _fit_trunk(network, train, rounds, progress)
    _fit_words(network, train, _TEXT_ROUNDS * rounds, progress)
    network.eval()
    _fit_verdict(network, calibrate)


def _fit_trunk(network: ExpectedDiscriminator, train: Seen, rounds: int, progress: Progress) -> None:
    """Learn what the scorer sees in images, good and poor."""
    images, target = train.pixels.flatten(0, 1), _scaled(network, train.features.flatten(0, 1))

    def loss(part: Tensor) -> Tensor:
        return nn.functional.mse_loss(network.trunk(images[part]), target[part])

    network.trunk.train()
    descend(network.trunk.parameters(), loss, len(images), rounds, _RATE, progress, "discriminator: images")


def _fit_words(network: ExpectedDiscriminator, train: Seen, rounds: int, progress: Progress) -> None:
    """Learn what the scorer sees in good images of a prompt."""
    good = train.good > 0
    if not good.any():
        good[-1] = True  # nothing better is known than what the heaviest tier makes
    tier, prompt = torch.nonzero(good, as_tuple=True)
    target = _scaled(network, train.features[tier, prompt])

    def loss(part: Tensor) -> Tensor:
        return nn.functional.mse_loss(network.expected(train.states[prompt[part]]), target[part])

    parts = nn.ModuleList([network.norm, network.keys, network.values, network.guess]).train()
    parameters = [*parts.parameters(), network.queries]
    descend(parameters, loss, len(prompt), rounds, _RATE, progress, "discriminator: words")


def _fit_verdict(network: ExpectedDiscriminator, seen: Seen) -> None:
    """Learn the probability that an image is good by how far it is from what was expected (logistic regression)."""
    with torch.no_grad():
        trunk = torch.cat([network.trunk(part) for part in seen.pixels.flatten(0, 1).split(256)])
        expected = network.expected(seen.states).repeat(len(seen.pixels), 1)
    good = seen.good.flatten()
    optimizer = torch.optim.AdamW(network.verdict.parameters(), 0.05, weight_decay=1e-3)
    for _ in range(_VERDICT_STEPS):
        loss = nn.functional.binary_cross_entropy_with_logits(network.compare(trunk, expected), good)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _scaled(network: ExpectedDiscriminator, features: Tensor) -> Tensor:
    return (features - network.mean) / network.std
