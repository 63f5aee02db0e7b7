"""One run of the kit: rows in their order until time is up, the worker in between, the table after each."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench_gpu.end_to_end import predictions
from bench_gpu.floor import Flops, count_flops
from bench_gpu.limits import attempt
from bench_gpu.measure import Bench, Measured, release, run_group
from bench_gpu.table import Report, heading
from bench_gpu.tiers import Group, Subject, groups

_WORKER_AFTER = 0.6
"""The worker's turn is after single images, or when this share of the time is over."""
_WORKER_S, _READY_S, _FLOPS_S = 150.0, 90.0, 60.0
_LOST = "CUDA error"
"""After it nothing runs in this process any more."""


class Session:
    """A run of so many seconds, which begins when it is made."""

    def __init__(self, table: Path, subjects: Sequence[Subject], small: bool, limit_s: float) -> None:
        """Take the file to write, and the tiers; `small` ones have a worker of their kind."""
        self._table, self._subjects, self._small = table, subjects, small
        self._limit_s = limit_s
        self._end = time.perf_counter() + limit_s
        self._flops: dict[str, Flops | None] = {}
        self._worker_measured = False

    def run(self, bench: Bench) -> None:
        """Measure what time allows."""
        report = Report(heading(bench, self._subjects, self._small), self._subjects, bench.ways.names)
        for group in groups(self._subjects, bench.ways):
            self._ask_worker_in_turn(bench, report, single=group.batches == (1,))
            if self._left_s() > 0:
                self._measure(group, bench, report)
        self._write(report)

    def _left_s(self) -> float:
        return self._end - time.perf_counter()

    def _measure(self, group: Group, bench: Bench, report: Report) -> None:
        subject = group.subject
        if subject.name not in self._flops:
            counted = attempt(lambda: count_flops(subject, bench.device, bench.dtype), min(_FLOPS_S, self._left_s()))
            self._flops[subject.name] = None if isinstance(counted, str) else counted
            _say(f"{subject.name}, operations: {counted}")
            release(bench.device)
        for batch, outcome in run_group(group, bench, self._flops[subject.name], self._left_s):
            report.outcomes[subject.name, group.way, batch] = outcome
            result = f"{outcome.seconds:.3g} s" if isinstance(outcome, Measured) else outcome
            _say(f"{subject.name}, {group.way}, batch {batch}: {result}")
            self._write(report)
            if _LOST in result:
                self._end = 0.0
        release(bench.device)

    def _ask_worker_in_turn(self, bench: Bench, report: Report, single: bool) -> None:
        late = self._left_s() < (1 - _WORKER_AFTER) * self._limit_s
        if self._worker_measured or (single and not late) or self._left_s() <= 0:
            return
        self._worker_measured = True
        report.worker = attempt(
            lambda: predictions(bench.device, bench.dtype, self._small, _READY_S), min(_WORKER_S, self._left_s())
        )
        release(bench.device)
        self._write(report)

    def _write(self, report: Report) -> None:
        self._table.write_text(report.text(), "utf-8")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
