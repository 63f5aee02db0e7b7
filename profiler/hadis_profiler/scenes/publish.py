"""Put trained scenes models where they are served from, in half precision, with the judge that measures them."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import save_file

from hadis_profiler.scenes.judge import train_judge

if __name__ == "__main__":
    trained, served = Path(sys.argv[1]), Path(sys.argv[2])
    for size in ("small", "large"):
        DiffusionPipeline.from_pretrained(trained / size, dtype=torch.float16).save_pretrained(served / size)
    torch.set_num_threads(2)
    save_file(train_judge(500).state_dict(), served / "judge.safetensors")
