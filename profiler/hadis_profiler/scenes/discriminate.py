"""Train the scenes' discriminator: is this light image what its prompt asked for?

The labels are the judge's, on pictures of both light tiers; the temperature that calibrates the confidence and the
AUC that is printed come from scenes that the training never saw (Guo et al. 2017, section 4.2).
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
from hadis.cli.scenes import random_scene
from hadis_worker.discriminator import SmallConfig, SmallDiscriminator
from numpy.typing import NDArray
from torch import nn

from hadis_profiler.scenes.judge import Judge, judge_pictures
from hadis_profiler.scenes.tiers import TIERS, paint
from hadis_profiler.scenes.train import words


def area_under_curve(scores: NDArray[np.float64], good: NDArray[np.bool_]) -> float:
    """Return the share of (good, poor) pairs that the scores put in order, ties by half."""
    order = scores[good][:, None] - scores[~good][None, :]
    return float((order > 0).mean() + (order == 0).mean() / 2)


def light_pictures(
    judge: Judge, models: Path, count: int, seed: int
) -> tuple[list[str], torch.Tensor, NDArray[np.bool_]]:
    """Return prompts, pictures and whether each is right: `count` scenes by each light tier."""
    rng = random.Random(seed)
    scenes = [random_scene(rng) for _ in range(2 * count)]
    pictures = torch.cat([paint(TIERS[k], models, scenes[k * count : (k + 1) * count], seed) for k in (0, 1)])
    return [str(scene) for scene in scenes], pictures, judge_pictures(judge, scenes, pictures)[0]


def train_discriminator(
    judge: Judge, models: Path, count: int = 4000, rounds: int = 24, seed: int = 0
) -> SmallDiscriminator:
    """Return a discriminator trained on `2 * count` light pictures for `rounds` passes, and calibrated."""
    torch.manual_seed(seed)
    discriminator = SmallDiscriminator(SmallConfig(vocabulary=tuple(words())))
    prompts, pictures, good = light_pictures(judge, models, count, 1_000_000 + seed)
    tokens, target = discriminator.tokenize(prompts), torch.from_numpy(good).float()
    optimizer = torch.optim.AdamW(discriminator.parameters(), 1e-3, weight_decay=0.02)
    steps = rounds * (-(-len(prompts) // 96))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    discriminator.train()
    for turn in range(rounds):
        losses = []
        for part in torch.randperm(len(prompts)).split(96):
            loss = nn.functional.binary_cross_entropy_with_logits(
                discriminator(pictures[part], tokens[part]), target[part]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"discriminator round {turn + 1}/{rounds} loss {np.mean(losses):.4f}", flush=True)
    discriminator.eval()
    prompts, pictures, good = light_pictures(judge, models, 500, 2_000_000 + seed)
    with torch.no_grad():
        logits = discriminator(pictures, discriminator.tokenize(prompts))
    target = torch.from_numpy(good).float()
    choices = torch.linspace(0.5, 6, 56)
    fits = [nn.functional.binary_cross_entropy_with_logits(logits / t, target).item() for t in choices]
    discriminator.calibrate(float(choices[int(np.argmin(fits))]))
    print(f"AUC on {len(good)} held-out pictures: {area_under_curve(logits.double().numpy(), good):.3f}", flush=True)
    return discriminator


if __name__ == "__main__":
    import sys

    from safetensors.torch import load_file

    torch.set_num_threads(2)
    folder = Path(sys.argv[1])
    trained = Judge().eval()
    trained.load_state_dict(load_file(folder / "judge.safetensors"))
    train_discriminator(trained, folder).save(folder / "discriminator")
