"""How many CPU threads there are to compute with: `hadis up` shares them out, a worker on its own takes them all."""

from __future__ import annotations

import os


def cpu_count() -> int:
    """Return the CPUs that this process may run on: its affinity, or on systems without one all of the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def omp_threads(value: str | None) -> int | None:
    """Return the threads that a value of OMP_NUM_THREADS asks for; None where it is no whole number over 0."""
    text = (value or "").strip()
    return int(text) if text.isascii() and text.isdigit() and int(text) > 0 else None
