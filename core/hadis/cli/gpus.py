"""stub until the merge"""

from __future__ import annotations

import os
from collections.abc import Sequence


def nvidia_gpus() -> tuple[str, ...]:
    """Return none."""
    return ()


def assign(devices: Sequence[str], workers: int) -> tuple[str | None, ...]:
    """Return None for each."""
    return (None,) * workers


def threads_per_worker(workers: int) -> int:
    """Return cores per worker."""
    return max(1, (os.cpu_count() or 1) // workers)
