"""Specs, prompts and a small CLIP for the tests of the profiler's stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from hadis_profiler.offline.spec import Run, RunSpec
from numpy.typing import NDArray

DATA = Path(__file__).parents[3] / "shared/data/paper"
"""The paper's public data, which some machines have."""
TIERS = [{"name": "a", "model": "x", "steps": 1}, {"name": "b", "model": "x", "steps": 9}]


def run_of(folder: Path, prompts: str = "prompts.txt", **changes: Any) -> Run:
    """Return a run of two tiers in a folder."""
    spec = {"name": "test", "prompts": prompts, "tiers": TIERS, "scorer": "inception", **changes}
    return Run(RunSpec.read(spec), folder, folder / "work")


def many_prompts(count: int = 60) -> list[str]:
    """Return distinct prompts, more than the least that a run takes."""
    return [f"a picture of {i} cats" for i in range(count)]


def frechet(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the Fréchet distance of features (n, d) as Gaussians, straight from Heusel et al. 2017, equation 6."""
    mean, cov_a, cov_b = a.mean(0) - b.mean(0), np.cov(a.T), np.cov(b.T)
    # The trace of the square root of a product of covariances is the sum of the roots of its eigenvalues.
    roots = np.sqrt(np.clip(np.linalg.eigvals(cov_a @ cov_b).real, 0, None)).sum()
    return float(mean @ mean + np.trace(cov_a) + np.trace(cov_b) - 2 * roots)


def write_tiny_clip(folder: Path) -> None:
    """Write a CLIP with random weights that takes no time."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    letters = [chr(c) for c in range(33, 127)]
    words = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: i for i, word in enumerate(words)}
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**small, "vocab_size": len(vocabulary), "max_position_embeddings": 16, "eos_token_id": 189},
        vision_config={**small, "image_size": 16, "patch_size": 8},
        projection_dim=8,
    )
    CLIPModel(config).save_pretrained(folder)
    CLIPProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
        tokenizer=tokenizer,
    ).save_pretrained(folder)
