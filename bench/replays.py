"""Replays for the tables of `bench_paper`: what is replayed, in processes beside each other, and a table's cells."""

from __future__ import annotations

import math
import pickle
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass

from hadis.planning.profile import Profile
from hadis.planning.speeds import corrected
from hadis.planning.tuning import Tuning
from hadis_profiler.replay.run import Inputs

GPUS = 16
PLAN_EVERY_S = 1.0
"""Period of our own control loop."""


@dataclass(frozen=True)
class Case:
    """What is replayed: a trace, a profile, and what goes otherwise than it says."""

    name: str
    inputs: Inputs
    shared: bool = True
    change_cost_s: float = 0.0
    gpus: int = GPUS


@dataclass(frozen=True)
class Cell:
    """A cell of a table: the mean of some replays."""

    runs: Sequence[Future[tuple[float, float]]]

    def __str__(self) -> str:
        """Return quality and violations in percent; a dash for a quality that the profile does not have."""
        quality, violations = map(statistics.mean, zip(*(run.result() for run in self.runs), strict=True))
        shown = "–" if math.isnan(quality) else f"{quality:.2f}" if quality >= 1 else f"{quality:.3f}"
        return f"{shown} / {violations:.2f}"


@dataclass(frozen=True)
class Section:
    """A table under a title; None is a cell that does not apply."""

    title: str
    columns: Sequence[str]
    """The first is of the rows' names."""
    rows: Mapping[str, Sequence[Cell | None]]

    def lines(self) -> Iterator[str]:
        """Yield its lines as markdown, once its replays are done."""
        yield from (f"## {self.title}", "", f"| {' | '.join(self.columns)} |", "|---" * len(self.columns) + "|")
        for name, cells in self.rows.items():
            yield f"| {name} | {' | '.join('-' if cell is None else str(cell) for cell in cells)} |"
        yield ""


class Replays:
    """Runs replays in a pool of processes, and says on stderr how many are done."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        """Use a pool."""
        self._pool = pool
        self._begun, self._done = 0, 0

    def cell(
        self,
        case: Case,
        policy: str = "hadis",
        seeds: Sequence[int] = (0,),
        tuning: Tuning = Tuning(),
        plan_every_s: float = PLAN_EVERY_S,
    ) -> Cell:
        """Begin to replay a case with each of the seeds.

        It is pickled here: the pool's own thread does it while others change what the case's profile remembers.
        """
        pickled = pickle.dumps(case)
        runs = [self._pool.submit(replayed, pickled, policy, seed, tuning, plan_every_s) for seed in seeds]
        self._begun += len(runs)
        for run in runs:
            run.add_done_callback(self._show)
        return Cell(runs)

    def _show(self, run: Future[tuple[float, float]]) -> None:
        self._done += 1
        if not self._done % 10 or self._done == self._begun:
            print(f"{self._done} of {self._begun} replays", file=sys.stderr, flush=True)


def replayed(pickled: bytes, policy: str, seed: int, tuning: Tuning, plan_every_s: float) -> tuple[float, float]:
    """Return quality and violations in percent of a pickled case."""
    case: Case = pickle.loads(pickled)
    summary, _ = case.inputs.run(
        policy, case.gpus, case.shared, case.change_cost_s, seed, lambda o: None, tuning=tuning,
        plan_every_s=plan_every_s,
    )  # fmt: skip
    return summary.quality, 100 * summary.violations


def slower(profile: Profile, times: float) -> Profile:
    """Return the profile with every latency multiplied."""
    return corrected(profile, {tier: dict.fromkeys(profile.batch_sizes(tier), times) for tier in profile.tiers})
