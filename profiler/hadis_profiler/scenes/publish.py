"""Put trained scenes models where they are served from, in half precision, with the judge that measures them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import save_file

from hadis_profiler.scenes.judge import train_judge


def forget_where(folder: Path) -> None:
    """Take the path that a model was loaded from out of its configurations."""
    for path in folder.rglob("*.json"):
        document = json.loads(path.read_text("utf-8"))
        if isinstance(document, dict) and document.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    trained, served = Path(sys.argv[1]), Path(sys.argv[2])
    for size in ("small", "large"):
        DiffusionPipeline.from_pretrained(trained / size, dtype=torch.float16).save_pretrained(served / size)
        forget_where(served / size)
    torch.set_num_threads(2)
    save_file(train_judge(500).state_dict(), served / "judge.safetensors")
