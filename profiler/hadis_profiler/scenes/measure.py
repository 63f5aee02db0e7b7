"""Measure the example cascade and write its CascadeProfile: latency, difficulty, confidence, quality.

Every tier paints the same scenes once; a configuration is then a choice of one of two pictures a scene, so that the
whole grid costs no more pictures than its four tiers. The reference is what `draw` makes of the same scenes.
"""

from __future__ import annotations

import multiprocessing
import platform
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from hadis.api.manifest import write_profile
from hadis.api.resources import BatchLatency, CascadeProfile, Configuration, Difficulty, Metadata, ProfileSpec, Tier
from hadis.cli.scenes import Scene, random_scene
from hadis_router.features import FEATURES, features
from hadis_worker.discriminator import SmallDiscriminator, load_discriminator
from numpy.typing import NDArray

from hadis_profiler.scenes.draw import PIXELS, draw
from hadis_profiler.scenes.judge import Judge, frechet, judge_pictures, labels
from hadis_profiler.scenes.tiers import TIERS, SceneTier, paint

Array = NDArray[np.float64]
BATCHES = (1, 2, 4, 8, 16)
QUANTILES = np.linspace(0, 1, 41)
GRID = [i / 10 for i in range(11)]


@dataclass(frozen=True)
class Painted:
    """What is known of n scenes: difficulty features (n, f), and by tier (k, n, ...) confidence, right, features."""

    texts: Array
    confidence: Array
    right: NDArray[np.bool_]
    image: Array
    reference: Array
    condition: Array


def paint_all(folder: Path, judge: Judge, discriminator: SmallDiscriminator, count: int, seed: int) -> Painted:
    """Paint `count` scenes with every tier and look at the pictures."""
    rng = random.Random(seed)
    scenes = [random_scene(rng) for _ in range(count)]
    prompts = [str(scene) for scene in scenes]
    confidence, right, image = [], [], []
    for tier in TIERS:
        pictures = paint(tier, folder, scenes, seed)
        good, seen = judge_pictures(judge, scenes, pictures)
        with torch.no_grad():
            logits = discriminator(pictures, discriminator.tokenize(prompts))
            confidence.append(torch.sigmoid(logits / discriminator.temperature).double().numpy())
        right.append(good)
        image.append(seen.double().numpy())
        print(f"{tier.name}: {good.mean():.3f} of {count} scenes right", flush=True)
    return Painted(
        np.stack([features(prompt) for prompt in prompts]),
        np.array(confidence),
        np.array(right),
        np.array(image),
        judge_pictures(judge, scenes, draw(scenes, rng))[1].double().numpy(),
        conditions(scenes),
    )


def conditions(scenes: list[Scene]) -> Array:
    """Return the scenes as numbers (n, d): each corner's shape, colour and size, and the background, one-hot."""
    corners, background = labels(scenes)
    parts = [torch.nn.functional.one_hot(corners[:, :, k] + (k > 0), n).flatten(1) for k, n in enumerate((4, 7, 3))]
    return torch.cat([*parts, torch.nn.functional.one_hot(background, 4)], 1).double().numpy()


def fit_difficulty(texts: Array, wrong: NDArray[np.bool_]) -> tuple[Difficulty, Array]:
    """Return weights by ridge regression of "the lightest tier is wrong" on z-scored features, and the scores (n,)."""
    mean, std = texts.mean(0), texts.std(0)
    std[std < 1e-9] = 1.0
    z = (texts - mean) / std
    weights = np.linalg.solve(z.T @ z + len(z) * 0.1 * np.eye(z.shape[1]), z.T @ (wrong - wrong.mean()))
    scores = z @ weights
    return Difficulty(
        features=FEATURES,
        mean=rounded(mean),
        std=rounded(std),
        weights=rounded(weights),
        quantiles=rounded(np.quantile(scores, QUANTILES)),
    ), scores


def rounded(values: Array) -> tuple[float, ...]:
    """Return plain floats of six decimals."""
    return tuple(round(float(v), 6) for v in values)


def configurations(
    painted: Painted, scores: Array, seconds: list[float], second_look: float
) -> Iterator[Configuration]:
    """Yield every single tier and every pair over the grid of ratios.

    `seconds` are each tier's least seconds an image, `second_look` the discriminator's. The distance is the Fréchet
    joint distance (DeVries et al. 2019): of image features joined with the prompt's, so that a picture of another
    scene than the one asked for counts as wrong even when it is a good picture.
    """
    n = len(scores)
    # Both halves weigh the same (DeVries et al., equation 4).
    scale = np.linalg.norm(painted.reference, axis=1).mean() / np.linalg.norm(painted.condition, axis=1).mean()
    joined = [np.hstack([part, scale * painted.condition]) for part in (painted.reference, *painted.image)]
    hardest = np.argsort(-scores, kind="stable")
    for k, tier in enumerate(TIERS):
        yield _row(tier, tier, 0, 0, joined[0], joined[k + 1], painted.right[k], seconds[k])
        for j in range(k):
            for direct in GRID:
                rest = hardest[round(direct * n) :]
                doubtful = rest[np.argsort(painted.confidence[j][rest], kind="stable")]
                for deferral in GRID:
                    heavy = np.ones(n, bool)
                    heavy[doubtful[round(deferral * len(rest)) :]] = False
                    image = np.where(heavy[:, None], joined[k + 1], joined[j + 1])
                    right = np.where(heavy, painted.right[k], painted.right[j])
                    cost = (1 - direct) * (seconds[j] + second_look) + (direct + (1 - direct) * deferral) * seconds[k]
                    yield _row(TIERS[j], tier, direct, deferral, joined[0], image, right, cost)


def _row(
    light: SceneTier, heavy: SceneTier, direct: float, deferral: float,
    reference: Array, image: Array, right: NDArray[np.bool_], cost: float,
) -> Configuration:  # fmt: skip
    return Configuration(
        light=light.name,
        heavy=heavy.name,
        direct_ratio=direct,
        deferral_ratio=deferral,
        quality=round(frechet(image, reference), 5),
        cost=round(cost, 6),
        measures={"right": round(float(right.mean()), 4)},
    )


def time_tier(tier: SceneTier, folder: Path, repeats: int = 7) -> tuple[list[float], float]:
    """Return the median seconds of a batch of each of BATCHES on one thread, and the seconds of loading."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    pipeline = DiffusionPipeline.from_pretrained(folder / tier.model, dtype=torch.float32)
    loading = time.perf_counter() - start
    pipeline.set_progress_bar_config(disable=True)
    prompts = [str(random_scene(random.Random(i))) for i in range(max(BATCHES))]
    medians = []
    for batch in BATCHES:
        taken = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            pipeline(
                prompts[:batch],
                num_inference_steps=tier.steps,
                guidance_scale=tier.guidance,
                height=PIXELS,
                width=PIXELS,
            )
            taken.append(time.perf_counter() - start)
        medians.append(float(np.median(taken[1:])))
    return medians, loading


def time_discriminator(folder: Path, repeats: int = 30) -> float:
    """Return the median seconds of judging a batch of 8 on one thread."""
    torch.set_num_threads(1)
    discriminator = load_discriminator(folder / "discriminator")
    assert isinstance(discriminator, SmallDiscriminator)
    tokens, images = discriminator.tokenize([str(random_scene(random.Random(0)))] * 8), torch.zeros(8, 3, 32, 32)
    taken = []
    with torch.no_grad():
        for _ in range(repeats):
            start = time.perf_counter()
            discriminator(images, tokens)
            taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def time_all(folder: Path, workers: int = 2) -> tuple[list[tuple[list[float], float]], float]:
    """Time every tier in `workers` processes side by side, as `hadis up` runs them; return the medians over them."""
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        timed = []
        for tier in TIERS:
            runs = pool.starmap(time_tier, [(tier, folder)] * workers, chunksize=1)
            timed.append((np.median([r[0] for r in runs], axis=0).tolist(), float(np.median([r[1] for r in runs]))))
        return timed, float(np.median(pool.map(time_discriminator, [folder] * workers, chunksize=1)))


def make_profile(folder: Path, judge: Judge, count: int = 2000, seed: int = 3_000_000) -> CascadeProfile:
    """Measure everything; print how it goes."""
    timed, look = time_all(folder)
    discriminator = load_discriminator(folder / "discriminator")
    assert isinstance(discriminator, SmallDiscriminator)
    painted = paint_all(folder, judge, discriminator, count, seed)
    difficulty, scores = fit_difficulty(painted.texts, ~painted.right[0])
    fastest = [min(s / b for s, b in zip(seconds, BATCHES, strict=True)) for seconds, _ in timed]
    tiers = tuple(
        Tier(
            name=tier.name,
            model=tier.model,
            steps=tier.steps,
            guidance=tier.guidance,
            size=f"{PIXELS}x{PIXELS}",
            dtype="float32",
            latency=tuple(BatchLatency(batch=b, seconds=round(s, 5)) for b, s in zip(BATCHES, seconds, strict=True)),
            load_seconds=round(loading, 2),
            discriminator_seconds=round(look, 5),
            confidence_quantiles=rounded(np.quantile(painted.confidence[k], QUANTILES)),
            tunable=True,
        )
        for k, (tier, (seconds, loading)) in enumerate(zip(TIERS, timed, strict=True))
    )
    return CascadeProfile(
        api_version="hadis.dev/v1alpha1",
        kind="CascadeProfile",
        metadata=Metadata(name="scenes"),
        spec=ProfileSpec(
            gpu_product="cpu",
            software={name: version(name) for name in ("torch", "diffusers", "transformers")},
            source=f"make scenes, {count} scenes, 2 workers of 1 thread side by side on {platform.machine()}",
            discriminator="discriminator",
            tiers=tiers,
            difficulty=difficulty,
            configurations=tuple(configurations(painted, scores, fastest, look / 8)),
        ),
    )


if __name__ == "__main__":
    import sys

    from safetensors.torch import load_file

    where = Path(sys.argv[1])
    of_scenes = Judge().eval()
    of_scenes.load_state_dict(load_file(where / "judge.safetensors"))
    write_profile(where / "profile.yaml", make_profile(where, of_scenes))
