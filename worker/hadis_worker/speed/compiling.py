"""torch.compile of what runs at every step."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path
from typing import Any

import torch
from hadis.api.speed import Speed

from hadis_worker.errors import LoadError

INDUCTOR = "inductor"
"""torch.compile's backend that makes kernels."""
_REPEATED_BLOCKS = {"SD3Transformer2DModel": ("JointTransformerBlock",)}
"""Blocks of models that diffusers does not name them of."""
_RECOMPILE_LIMIT = 64
"""Graphs per function: every tier of a kind of model, and every shape, is one. Beyond it torch stops compiling."""


def compile_denoiser(speed: Speed, denoiser: Any, compiler: str) -> None:
    """Have a denoiser compiled when it first runs; raise LoadError where it cannot be as `speed` says.

    Call it in the thread that computes, which alone sees the limit that it sets.
    """
    from torch import _dynamo  # late, for it takes seconds

    if compiler == INDUCTOR:
        _check_compiler()
    _dynamo.config.recompile_limit = _RECOMPILE_LIMIT
    if speed.compile == "full":
        if denoiser._compiled_call_impl is None:  # else another tier has had it compiled
            denoiser.compile(backend=compiler)
        return
    for block in _blocks(denoiser):
        if speed.cache is not None:
            # The hooks of a cache replace the block's forward, and are not compiled themselves: what they decide by
            # changes at every step.
            block.forward = torch.compile(block.forward, backend=compiler)
        elif block._compiled_call_impl is None:
            block.compile(backend=compiler)


def graphs_made() -> int:
    """Return how many graphs torch has made so far."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


def _blocks(denoiser: Any) -> list[Any]:
    kind = type(denoiser).__name__
    if "UNet" in kind:
        raise LoadError(f"compile: regional would leave out most of a {kind}; write full, and channelsLast: true")
    names = _REPEATED_BLOCKS.get(kind) or getattr(denoiser, "_repeated_blocks", None) or ()
    blocks = [module for module in denoiser.modules() if type(module).__name__ in names]
    if not blocks:
        raise LoadError(f"compile: diffusers names no repeated blocks of a {kind}; write full")
    return blocks


def _check_compiler() -> None:
    # torch looks for one when the first image is made, and what it raises is long.
    if not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "gcc", "cc", "clang"))):
        raise LoadError("compile: torch needs a C compiler, and there is none; install gcc and g++")
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").is_file():
        raise LoadError(f"compile: torch needs Python's headers, and {headers} has none; install python3-dev")
