"""Write the paper's measurements as a CascadeProfile: `python -m hadis_profiler.paper.profile DATA OUT.yaml`.

DATA is a folder with config_results_hybrid.csv, prompt_features.csv and confidence/model_K.txt of the paper's public
artifact. Times are those of its testbed divided by 10 (with an SLO of 6 s instead of 60), as its own simulations use.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
from hadis.api.manifest import write_profile
from hadis.api.resources import API_VERSION, CascadeProfile
from hadis.api.shares import cascade_gpu_s
from hadis_router.difficulty.features import FEATURES

from hadis_profiler.paper.features import WEIGHTS, paper_score, read_columns

TIERS = (
    ("sdxl-lightning", "stabilityai/stable-diffusion-xl-base-1.0", 2, 0.05, 29.75),
    ("sd35-large-turbo", "stabilityai/stable-diffusion-3.5-large-turbo", 4, 0.13, 25.22),
    ("sd35-medium", "stabilityai/stable-diffusion-3.5-medium", 50, 1.3, 20.61),
    ("sd35-large", "stabilityai/stable-diffusion-3.5-large", 50, 2.7, 19.95),
)
"""Name, model, steps, seconds at batch 1, FID of the tier alone."""
_LIGHTNING = {"model": "ByteDance/SDXL-Lightning", "file": "sdxl_lightning_2step_unet.safetensors"}
_SETTINGS: dict[str, dict[str, Any]] = {
    "sdxl-lightning": {
        "components": {"unet": _LIGHTNING},
        "scheduler": {"class": "EulerDiscreteScheduler", "arguments": {"timestep_spacing": "trailing"}},
        "guidance": 0,
    },
    "sd35-large-turbo": {"guidance": 0},
    "sd35-medium": {"guidance": 4.5},
    "sd35-large": {"guidance": 4.5},
}
"""What the models' authors recommend; the artifact does not say."""
BATCHES = (1, 2, 4, 8, 16, 32)
BATCH_FACTOR = 0.9
"""A batch of b > 1 takes this times b as long as one image."""
DISCRIMINATOR_S = 0.01
_QUANTILES = 101
_SOURCE = (
    "HADIS: Hybrid Adaptive Diffusion Model Serving (arXiv 2509.00642) and its public artifact (Tung-I/diffserve-2): "
    "FID of 5,000 prompts x 4 images; latencies of its testbed divided by 10."
)


def _latency(seconds: float) -> list[dict[str, float]]:
    return [{"batch": b, "seconds": round(seconds * (1 if b == 1 else BATCH_FACTOR * b), 6)} for b in BATCHES]


def _quantiles(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[float]:
    return [float(f"{q:.5g}") for q in np.quantile(values, np.linspace(0, 1, _QUANTILES))]


def build(folder: Path) -> CascadeProfile:
    """Return the profile of the artifact's files in a folder."""
    _, columns = read_columns(folder / "prompt_features.csv")
    tiers = []
    for k, (name, model, steps, seconds, _) in enumerate(TIERS):
        real = np.loadtxt(folder / f"confidence/model_{k}.txt")[:, 1].reshape(len(columns), -1).mean(1)
        tiers.append(
            {
                "name": name,
                "model": model,
                "steps": steps,
                **_SETTINGS[name],
                "latency": _latency(seconds),
                "discriminatorSeconds": DISCRIMINATOR_S,
                "confidenceQuantiles": _quantiles(real),
            }
        )
    image_s = [seconds * BATCH_FACTOR for _, _, _, seconds, _ in TIERS]
    rows = []
    with (folder / "config_results_hybrid.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            light, heavy = int(row["light_model"]), int(row["heavy_model"])
            x, y = float(row["router_ratio"]), float(row["disc_ratio"])
            cost = cascade_gpu_s(x, y, image_s[light], image_s[heavy])
            rows.append(
                {
                    "light": TIERS[light][0],
                    "heavy": TIERS[heavy][0],
                    "directRatio": x,
                    "deferralRatio": y,
                    "quality": float(row["fid"]),
                    "cost": round(cost, 6),
                }
            )
    rows += [
        {
            "light": name,
            "heavy": name,
            "directRatio": 0.0,
            "deferralRatio": 0.0,
            "quality": fid,
            "cost": round(s * BATCH_FACTOR, 6),
        }
        for name, _, _, s, fid in TIERS
    ]
    difficulty = {
        "features": list(FEATURES),
        "mean": columns.mean(0).round(6).tolist(),
        "std": columns.std(0).round(6).tolist(),
        "weights": WEIGHTS.tolist(),
        "quantiles": _quantiles(paper_score(columns)),
    }
    spec = {
        "gpuProduct": "paper-testbed",
        "source": _SOURCE,
        "discriminator": "discriminator",
        "tiers": tiers,
        "difficulty": difficulty,
        "configurations": rows,
    }
    return CascadeProfile.read(
        {"apiVersion": API_VERSION, "kind": "CascadeProfile", "metadata": {"name": "paper"}, "spec": spec}
    )


if __name__ == "__main__":
    write_profile(Path(sys.argv[2]), build(Path(sys.argv[1])))
