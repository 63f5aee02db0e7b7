"""Put trained scenes models where they are served from, in half precision, with what `hadis profile` needs of them:
the prompts and the classifier that the scorer reads pictures with.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from hadis.cli.scenes import random_scene
from safetensors.torch import save_file

from hadis_profiler.scenes.classifier import train_classifier
from hadis_profiler.scenes.scorer import WEIGHTS

PROMPTS = 4000
_PROMPTS_SEED = 5_000_000
"""Far from the seeds of training, which sees scenes of its own."""


def publish(trained: Path, served: Path) -> None:
    """Write everything of `examples/scenes` but the profile and its discriminator, which `hadis profile` makes."""
    for size in ("small", "large"):
        DiffusionPipeline.from_pretrained(trained / size, dtype=torch.float16).save_pretrained(served / size)
        forget_where(served / size)
    save_file(train_classifier(500).state_dict(), served / WEIGHTS)
    (served / "prompts.txt").write_text("\n".join(distinct_prompts(PROMPTS)) + "\n", "utf-8")


def distinct_prompts(count: int) -> list[str]:
    """Return captions of random scenes, each once, the same in every run."""
    rng = random.Random(_PROMPTS_SEED)
    prompts: dict[str, None] = {}
    while len(prompts) < count:
        prompts[str(random_scene(rng))] = None
    return list(prompts)


def forget_where(folder: Path) -> None:
    """Take the path that a model was loaded from out of its configurations."""
    for path in folder.rglob("*.json"):
        document = json.loads(path.read_text("utf-8"))
        if isinstance(document, dict) and document.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    torch.set_num_threads(2)
    publish(Path(sys.argv[1]), Path(sys.argv[2]))
