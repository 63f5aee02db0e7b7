"""How many CPU threads there are to compute with: `hadis up` shares them out, a worker on its own takes them all."""

from __future__ import annotations

import os


def cpu_count() -> int:
    """Return the CPUs that this process may run on: its affinity, or on systems without one all of the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def omp_threads(value: str | None) -> int | None:
    """Return the threads that a value of OMP_NUM_THREADS asks for; None where it is none that OpenMP takes.

    OpenMP takes a list with a number for each level of nesting: we compute at the first.
    """
    levels = [level.strip() for level in (value or "").split(",")]
    if not all(level.isascii() and level.isdigit() and int(level) > 0 for level in levels):
        return None
    return int(levels[0])
