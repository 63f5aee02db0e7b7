"""The tables as markdown, written anew after each row, so that whoever stops the run has what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import diffusers
import torch
from hadis_worker.gpu import Gpu

from bench_gpu.end_to_end import Prediction
from bench_gpu.measure import Bench, Measured, Outcome
from bench_gpu.tiers import LARGER_BATCHES, PLAIN, Subject

_BATCHES = (1, *LARGER_BATCHES)
COLUMNS = (
    "tier",
    "batch",
    "run as",
    "batch, s",
    "images/s",
    "times plain diffusers",
    "compiling, s",
    "peak memory, GiB",
    "J per image",
    "VAE",
    "of the floor",
)
_NOTES = """\
Written by `make bench-gpu`, with torch {torch} and diffusers {diffusers}. Weights are random{small}, and so is what
text encoders, which do not run, would say of the prompts. Step caches are left out: what they skip depends on the
weights, and with random ones means nothing.

- `run as`: `plain diffusers` is the pipeline called as its documentation does, `eager` the worker's engine without
  speed settings, and the rest that with them. SDXL is compiled whole, in channels-last order, the others by blocks.
- `batch, s`: {steps}
- `compiling, s`: how much longer the first batch takes than the next. Kernels of earlier rows come from torch's cache.
- `VAE`: its share of the time.
- `of the floor`: the time of the floating-point operations (torch counts them) at the rate of a large matrix product,
  which is {rate:.4g} TFLOP/s in {dtype} here, as a share of the time. With quantized weights it may be over 100%.
"""
_GIB = 2**30


@dataclass
class Report:
    """What is known so far."""

    heading: str
    subjects: Sequence[Subject]
    ways: Sequence[str]
    outcomes: dict[tuple[str, str, int], Outcome] = field(default_factory=dict)
    """By tier, way and batch size."""
    worker: Sequence[Prediction] | str = "Not reached."

    def text(self) -> str:
        """Return the report as markdown."""
        rows = [self._row(*key) for key in self._keys() if self._has(*key)]
        return "\n".join([self.heading, *_table(COLUMNS, rows), "", *self._missing(), *self._worker(), ""])

    def _keys(self) -> list[tuple[Subject, int, str]]:
        return [(subject, batch, way) for subject in self.subjects for batch in _BATCHES for way in self.ways]

    def _has(self, subject: Subject, batch: int, way: str) -> bool:
        return (subject.name, way, batch) in self.outcomes

    def _row(self, subject: Subject, batch: int, way: str) -> list[str]:
        outcome = self.outcomes[subject.name, way, batch]
        head = [f"{subject.name}, {subject.steps} steps", str(batch), way]
        if isinstance(outcome, str):
            return [*head, outcome.replace("|", "\\|"), *("" for _ in COLUMNS[len(head) + 1 :])]
        return [*head, *_cells(outcome, batch, self.outcomes.get((subject.name, PLAIN, batch)))]

    def _missing(self) -> list[str]:
        batches: dict[tuple[str, str], list[str]] = {}
        for subject, batch, way in self._keys():
            if not self._has(subject, batch, way):
                batches.setdefault((subject.name, way), []).append(str(batch))
        if not batches:
            return []
        lines = [f"- {tier}, {way}: batch {', '.join(sizes)}" for (tier, way), sizes in batches.items()]
        return ["Not reached in the time of the run:", "", *lines, ""]

    def _worker(self) -> list[str]:
        what = "SDXL with random weights: the profiler's time of a batch, and the time of a worker with that profile."
        head = ["## A worker, end to end", "", what, ""]
        if isinstance(self.worker, str):
            return [*head, self.worker]
        rows = [
            [p.tier, str(p.batch), f"{p.profile_s:.3f}", f"{p.worker_s:.3f}", _difference(p), f"{p.request_s:.3f}"]
            for p in self.worker
        ]
        return [*head, *_table(("tier", "batch", "profile, s", "worker, s", "difference", "with encoding, s"), rows)]


def heading(bench: Bench, subjects: Sequence[Subject], small: bool) -> str:
    """Return what was measured where, and what a reader must know of the numbers."""
    title = f"# Tiers on {Gpu(bench.device).name}"
    if small:
        title = "# Tiny models on a CPU: that the GPU kit runs, not how fast anything is"
    most = max(subject.measured_steps for subject in subjects)
    cut = any(subject.measured_steps < subject.steps for subject in subjects)
    notes = _NOTES.format(
        torch=torch.__version__,
        diffusers=diffusers.__version__,
        small=", of tiny models" if small else ", of the models' real sizes",
        steps=f"up to {most} steps are measured; the time of all is reckoned in proportion, the VAE once."
        if cut
        else "of all steps.",
        rate=bench.rate / 1e12,
        dtype=str(bench.dtype).removeprefix("torch."),
    )
    return f"{title}\n\n{notes}"


def _cells(measured: Measured, batch: int, plain: Outcome | None) -> list[str]:
    return [
        f"{measured.seconds:.3g}",
        f"{batch / measured.seconds:.3g}",
        f"{plain.seconds / measured.seconds:.2f}" if isinstance(plain, Measured) else "",
        f"{measured.first_s:.1f}",
        f"{measured.memory_bytes / _GIB:.1f}" if measured.memory_bytes else "",
        "" if measured.energy_j is None else f"{measured.energy_j:.0f}",
        f"{measured.vae_share:.0%}",
        "" if measured.floor_share is None else f"{measured.floor_share:.0%}",
    ]


def _difference(prediction: Prediction) -> str:
    return f"{prediction.worker_s / prediction.profile_s - 1:+.0%}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
