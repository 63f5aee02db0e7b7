"""Train the discriminator that expects what a scorer would see: image, then words, then how far apart is too far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from hadis_worker.discriminator import ExpectedDiscriminator
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor, nn

Array = NDArray[np.float64]
_BATCH = 96
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


def telling(features: Array) -> NDArray[np.bool_]:
    """Return which features (k, n, d) differ between a prompt's images; the others only repeat the prompt."""
    within = features.std(0).mean(0)
    return np.asarray(within > 1e-9 * max(1.0, float(within.max(initial=0.0))))


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
    pixels, target = train.pixels.flatten(0, 1), _scaled(network, train.features.flatten(0, 1))

    def loss(part: Tensor) -> Tensor:
        return nn.functional.mse_loss(network.trunk(pixels[part]), target[part])

    _descend([network.trunk], loss, len(pixels), rounds, progress, "discriminator: images")


def _fit_words(network: ExpectedDiscriminator, train: Seen, rounds: int, progress: Progress) -> None:
    """Learn what the scorer sees in good images of a prompt."""
    good = train.good > 0
    if not good.any():
        good[-1] = True  # nothing better is known than what the heaviest tier makes
    tier, prompt = torch.nonzero(good, as_tuple=True)
    target = _scaled(network, train.features[tier, prompt])

    def loss(part: Tensor) -> Tensor:
        return nn.functional.mse_loss(network.expected(train.states[prompt[part]]), target[part])

    parts = [network.norm, network.keys, network.values, network.guess, nn.ParameterList([network.queries])]
    _descend(parts, loss, len(prompt), rounds, progress, "discriminator: words")


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


def _descend(
    parts: list[nn.Module], loss_of: Callable[[Tensor], Tensor], count: int, rounds: int, progress: Progress, what: str
) -> None:
    parameters = [parameter for part in parts for parameter in part.parameters()]
    optimizer = torch.optim.AdamW(parameters, 2e-3, weight_decay=0.02)
    steps = rounds * -(-count // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    task = progress.add_task(what, total=steps)
    for part in parts:
        part.train()
    for _ in range(rounds):
        for part_of_all in torch.randperm(count).split(_BATCH):
            loss = loss_of(part_of_all)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.advance(task)
