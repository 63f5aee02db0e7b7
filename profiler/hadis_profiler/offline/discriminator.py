"""Stage discriminator: a small network that tells which light images are good enough, and how sure that is."""

from __future__ import annotations

import collections
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hadis_worker.discriminator import (
    ClipConfig,
    ClipDiscriminator,
    Discriminator,
    SmallConfig,
    SmallDiscriminator,
    load_discriminator,
)
from numpy.typing import NDArray
from PIL import Image
from rich.progress import Progress
from torch import nn

from hadis_profiler.offline import store
from hadis_profiler.offline.images import read_images
from hadis_profiler.offline.look import Looks
from hadis_profiler.offline.prompts import Split
from hadis_profiler.offline.spec import Run, SpecError

Array = NDArray[np.float64]
FOLDER = "discriminator"
_WORDS = 4000
_BATCH = 96
_CHANNELS = {32: (32, 64, 96), 64: (32, 64, 96, 96), 128: (32, 64, 96, 96, 96)}
_BINS = 10


@dataclass(frozen=True)
class Judged:
    """The confidence of each tier's images (k, n), and how good the discriminator is on held-out ones."""

    confidence: Array
    auc: float
    calibration: list[tuple[float, float, int]]
    """Bins of (mean confidence, share that is good, images)."""
    seconds: float
    """Of a batch of 8."""


def good_images(looks: Looks) -> NDArray[np.bool_]:
    """Return which images (k, n) are good enough.

    With a score an image: those no worse than the heaviest tier's of the same prompt, or than its median. Without: the
    heaviest tier's are, and of the others those that come as near to it as the nearest half of the next lighter tier.
    """
    if looks.scores is not None:
        enough = np.minimum(looks.scores[-1], np.median(looks.scores[-1]))
        return np.asarray(looks.scores >= enough - 1e-9)
    far = np.stack([looks.badness(k) for k in range(len(looks.features))])
    return np.asarray(far <= np.median(far[-2]))


def train(run: Run, prompts: Sequence[str], looks: Looks, split: Split, device: str, progress: Progress) -> Judged:
    """Train on the light tiers' images of the training prompts, calibrate, and judge every image."""
    good = good_images(looks)
    made_from = store.mark(run.spec.discriminator.model_dump(), run.spec.seed, good.tolist(), list(prompts))
    path, folder = run.work / "discriminator.json", run.work / FOLDER
    light = range(len(run.spec.tiers) - 1)
    if store.load(path, made_from) is None or not (folder / "model.safetensors").exists():
        network = _fit(run, prompts, good, split.train, light, device, progress)
        _calibrate(network, *_pictures(run, network, prompts, good, split.calibrate, light))
        network.save(folder)
        store.save(path, made_from, True)
    network = load_discriminator(folder).to(device)
    confidence = _confidence(run, network, prompts, progress)
    held = confidence[:-1][:, split.test].ravel(), good[:-1][:, split.test].ravel()
    judged = Judged(confidence, area_under_curve(*held), _calibration(*held), _time(network, prompts))
    _card(folder, run, judged, len(split.train), len(split.test))
    return judged


def area_under_curve(scores: Array, good: NDArray[np.bool_]) -> float:
    """Return the share of (good, poor) pairs that the scores put in order, ties by half; 0.5 without any pair."""
    if good.all() or not good.any():
        return 0.5
    _, inverse, ties = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[inverse]
    n = int(good.sum())
    return float((ranks[good].sum() - n * (n + 1) / 2) / (n * (len(good) - n)))


def _fit(run: Run, prompts: Sequence[str], good: NDArray[np.bool_], train: NDArray[np.intp], light: Sequence[int],
         device: str, progress: Progress) -> Discriminator:  # fmt: skip
    asked = run.spec.discriminator
    torch.manual_seed(run.spec.seed)
    network = _untrained(run, prompts).to(device)
    seen, read, target = _pictures(run, network, prompts, good, train, light)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.02)
    steps = asked.rounds * -(-len(target) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    task = progress.add_task("discriminator", total=steps)
    network.train()
    for _ in range(asked.rounds):
        for part in torch.randperm(len(target)).split(_BATCH):
            loss = nn.functional.binary_cross_entropy_with_logits(network(seen[part], read[part]), target[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.advance(task)
    return network.eval()


def _untrained(run: Run, prompts: Sequence[str]) -> Discriminator:
    """Return the network that the spec asks for; raise SpecError where its CLIP cannot be loaded."""
    asked = run.spec.discriminator
    if asked.clip is None:
        return SmallDiscriminator(SmallConfig(_vocabulary(prompts), asked.image_size, _CHANNELS[asked.image_size]))
    folder = run.path(asked.clip)
    try:
        return ClipDiscriminator.of(str(folder) if folder.is_dir() else asked.clip, ClipConfig())
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SpecError(f"discriminator.clip: {asked.clip} cannot be loaded: {reason}") from None


def _pictures(
    run: Run, network: Discriminator, prompts: Sequence[str], good: NDArray[np.bool_], which: NDArray[np.intp],
    light: Sequence[int],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return what the network reads of the images of tiers, and whether they are good, where the network is."""
    seen: list[torch.Tensor] = []
    read: list[torch.Tensor] = []
    target: list[torch.Tensor] = []
    for k in light:
        for some in np.array_split(which, max(1, len(which) // 256)):
            images = list(read_images(run, run.spec.tiers[k], some.tolist()))
            for into, part in zip((seen, read), network.inputs(images, [prompts[i] for i in some]), strict=True):
                into.append(part)
        target.append(torch.from_numpy(good[k][which]).float())
    device = next(network.parameters()).device
    return torch.cat(seen).to(device), torch.cat(read).to(device), torch.cat(target).to(device)


@torch.no_grad()
def _calibrate(network: Discriminator, seen: torch.Tensor, read: torch.Tensor, target: torch.Tensor) -> None:
    """Choose the temperature of the least loss on pictures that were not trained on (Guo et al. 2017, section 4.2)."""
    logits = torch.cat([network(a, b) for a, b in zip(seen.split(256), read.split(256), strict=True)])
    choices = torch.linspace(0.5, 8, 76)
    losses = [nn.functional.binary_cross_entropy_with_logits(logits / t, target).item() for t in choices]
    network.calibrate(float(choices[int(np.argmin(losses))]))


def _confidence(run: Run, network: Discriminator, prompts: Sequence[str], progress: Progress) -> Array:
    task = progress.add_task("confidence", total=len(run.spec.tiers) * len(prompts))
    found = np.zeros((len(run.spec.tiers), len(prompts)))
    for k, tier in enumerate(run.spec.tiers):
        for start in range(0, len(prompts), 64):
            some = range(start, min(len(prompts), start + 64))
            found[k, start : start + 64] = network.confidence(
                list(read_images(run, tier, some)), [prompts[i] for i in some]
            )
            progress.advance(task, len(some))
    return found


def _calibration(confidence: Array, good: NDArray[np.bool_]) -> list[tuple[float, float, int]]:
    where = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    bins: list[Any] = [(confidence[where == b], good[where == b]) for b in range(_BINS)]
    return [(float(c.mean()), float(g.mean()), len(c)) for c, g in bins if len(c)]


def _time(network: Discriminator, prompts: Sequence[str]) -> float:
    """Return the median seconds of a batch of 8, reading the pixels included."""
    size = network.image_size
    images = [Image.new("RGB", (size, size))] * 8
    some = [prompts[i % len(prompts)] for i in range(8)]
    taken = []
    for _ in range(20):
        start = time.perf_counter()
        network.confidence(images, some)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def _vocabulary(prompts: Sequence[str]) -> tuple[str, ...]:
    counts = collections.Counter(word for prompt in prompts for word in re.findall(r"\w+", prompt.lower()))
    return tuple(sorted(word for word, _ in counts.most_common(_WORDS)))


def _card(folder: Path, run: Run, judged: Judged, trained: int, held_out: int) -> None:
    """Write the model card."""
    tiers = ", ".join(tier.name for tier in run.spec.tiers[:-1])
    rows = "\n".join(f"| {c:.2f} | {g:.2f} | {n} |" for c, g, n in judged.calibration)
    text = (
        f"# Discriminator of {run.spec.name}\n\nTells from a light image and its prompt whether the image is good "
        f"enough. Trained on the images of {tiers} for {trained} prompts; good means what the scorer "
        f"`{run.spec.scorer}` says.\n\nOn {held_out} other prompts: area under the ROC curve {judged.auc:.3f}; "
        f"calibration:\n\n| confidence | share that is good | images |\n|---|---|---|\n{rows}\n\n"
        "Not for anything but this cascade: it knows the faults of these models and nothing else.\n"
    )
    store.write(folder / "README.md", text.encode())
