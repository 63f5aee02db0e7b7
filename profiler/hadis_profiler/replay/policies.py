"""The policies that a replay compares. All of them use the same dispatcher: one earliest-deadline-first queue per tier,
late binding, and the light image as the answer where the heavy one would be late.

That is more than some of them have in their own papers, and fair: a table then shows what the planning is worth.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from hadis.api.cascade_profile import Configuration
from hadis.api.shares import heavy_share, light_share
from hadis.planning.decide import Decision, decide
from hadis.planning.fleet import is_shared, on_gpus
from hadis.planning.memory import Memory
from hadis.planning.pareto import pareto_front
from hadis.planning.plan import Plan, TierPlan
from hadis.planning.profile import Profile
from hadis.planning.snapshot import DemandReading, Snapshot
from hadis.planning.tuning import Tuning

from hadis_profiler.replay.control import Policy

PLAN_EVERY_S = 1.0
"""Period of our own control step: it takes about a millisecond, and thresholds follow at once."""
EPOCH_S = 5.0
"""Period of the rivals' control loops, as in the HADIS paper's testbed."""
OVER_PROVISION = 1.05
"""Demand is multiplied by this before planning (DiffServe's factor, kept by the HADIS paper)."""
EWMA = 0.5
"""Weight of the latest epoch in the estimate of demand; of 0.3, 0.5 and 0.8 the best on these traces."""
Row = tuple[str, str, float, float, float]


@dataclass(frozen=True)
class Named:
    """A policy with how it scores prompts (None: by the prompts' difficulty)."""

    policy: Policy
    score: Callable[[int], float] | None = None


class Hadis:
    """This project: the live control step."""

    wakes = True

    def __init__(self, profile: Profile, tuning: Tuning, every_s: float) -> None:
        """Decide as the operator and `hadis up` do, by what `profile` says."""
        self.every_s = every_s
        self._profile, self._tuning = profile, tuning

    def decide(self, snapshot: Snapshot, memory: Memory) -> Decision:
        """Take the control step."""
        return decide(replace(snapshot, profile=self._profile), memory, self._tuning)


class Epochs:
    """A rival's planner: every epoch the best row whose work fits, with demand averaged over epochs.

    The batch of each tier is the largest of which twice the time fits the path, the rule of Nexus, Proteus and
    DiffServe: a request that just missed a batch waits for that one, then for its own.
    """

    wakes = False

    def __init__(
        self, profile: Profile, slo_s: float, rows: list[Row], *, every_s: float = EPOCH_S, light_sees_all: bool = False
    ) -> None:
        """`light_sees_all` charges the light tier with all requests, the direct ones included."""
        if profile.slots:
            raise ValueError("this policy knows no tiers that endpoints make; replay hadis or random-mix")
        self.every_s, self._profile, self._slo_s = every_s, profile, slo_s
        self._rows = sorted(rows, key=lambda row: row[4])
        self._all = light_sees_all
        self._batches = [self._batch_sizes(row) for row in self._rows]
        self._rate, self._last = 0.0, (0.0, 0.0)

    def decide(self, snapshot: Snapshot, memory: Memory) -> Decision:
        """Return the plan of this epoch and its own counts: these rules do not charge for a change.

        They ask for new workers while old ones end: those wait for their GPUs.
        """
        gpus = snapshot.spec.worker_bounds.max
        ready = sum(worker.ready for worker in snapshot.workers)
        if isinstance(snapshot.reading, DemandReading):
            self._estimate(snapshot.now_s, sum(snapshot.reading.series.values()))
        plan = self._choose(ready or gpus)
        counts = dict.fromkeys(self._profile.tiers, 0) | {tier.tier: tier.count for tier in plan.tiers}
        counts[plan.heavy] += gpus - sum(counts.values())
        shared = is_shared(snapshot.spec, self._profile)
        replicas = on_gpus(snapshot, counts, shared=shared).targets
        return Decision(memory, (), planned=True, plan=plan if ready else None, replicas=replicas)

    def _estimate(self, now_s: float, arrivals_total: float) -> None:
        before_s, before = self._last
        if now_s > before_s:
            latest = (arrivals_total - before) / (now_s - before_s)
            self._rate = EWMA * latest + (1 - EWMA) * self._rate if before_s else latest
            self._last = now_s, arrivals_total

    def _choose(self, gpus: int) -> Plan:
        demand = self._rate * OVER_PROVISION
        loads = [self._load(row, sizes, demand) for row, sizes in zip(self._rows, self._batches, strict=True)]
        whole = [max(1, int(np.ceil(a - 1e-9))) * (a > 0) + int(np.ceil(b - 1e-9)) for a, b in loads]
        fits = [i for i, need in enumerate(whole) if need <= gpus and self._batches[i] is not None]
        best = fits[0] if fits else min(range(len(loads)), key=lambda i: sum(loads[i]))
        light, heavy, direct, deferral, quality = self._rows[best]
        sizes = self._batches[best] or (1, 1)
        count = min(gpus, max(int(loads[best][0] > 0), int(np.ceil(loads[best][0] - 1e-9))))
        tiers = [TierPlan(light, count if heavy != light else gpus, sizes[0])]
        if heavy != light:
            tiers.append(TierPlan(heavy, gpus - count, sizes[1]))
        return Plan(
            light,
            heavy,
            direct,
            deferral,
            tuple(tiers),
            demand,
            quality,
            light_latency_s=0.0,
            heavy_latency_s=0.0,
            feasible=bool(fits),
            reason="epoch",
            generation=1,
        )

    def _batch_sizes(self, row: Row) -> tuple[int, int] | None:
        """Return the batches of most throughput within the latency rule; None where not even single images are."""
        light, heavy, _, deferral, _ = row
        best, sizes = float("inf"), None
        for a in self._profile.batch_sizes(light):
            for b in self._profile.batch_sizes(heavy) if heavy != light else (1,):
                light_s = self._profile.latency_s(light, a, deferral > 0)
                heavy_s = self._profile.latency_s(heavy, b) if heavy != light else 0.0
                path = light_s + heavy_s if deferral > 0 else max(light_s, heavy_s)
                cost = sum(self._load(row, (a, b), 1.0))
                if 2 * path <= self._slo_s and cost < best - 1e-9:
                    best, sizes = cost, (a, b)
        return sizes

    def _load(self, row: Row, sizes: tuple[int, int] | None, demand: float) -> tuple[float, float]:
        light, heavy, direct, deferral, _ = row
        a, b = sizes or (1, 1)
        light_s = self._profile.latency_s(light, a, deferral > 0) / a
        if heavy == light:
            return demand * light_s, 0.0
        heavy_s = self._profile.latency_s(heavy, b) / b
        to_light = 1.0 if self._all else light_share(direct)
        return demand * to_light * light_s, demand * heavy_share(direct, deferral) * heavy_s


def rows_of(profile: Profile) -> list[Row]:
    """Return the profile's rows as tuples: those of the ways of deferral that the rivals have."""
    return [(c.light, c.heavy, c.direct_ratio, c.deferral_ratio, c.quality) for c in _rivals_rows(profile)]


def _rivals_rows(profile: Profile) -> list[Configuration]:
    return [c for c in profile.configurations if not c.best_of_two]


def _pareto(profile: Profile) -> list[Row]:
    """Return the rows that no other beats on cost and quality."""
    rows = rows_of(profile)
    return [rows[i] for i in pareto_front([(c.cost, c.quality) for c in _rivals_rows(profile)])]


def _drawn(seed: int) -> Callable[[int], float]:
    """Return a score that is drawn for each request, whatever the prompt."""
    rng = random.Random(seed)
    return lambda prompt: rng.random()


def _without_deferral(profile: Profile) -> Profile:
    spec = profile.resource.spec
    rows = tuple(c for c in spec.configurations if c.deferral_ratio == 0)
    flat = spec.difficulty.model_copy(update={"quantiles": (0.0, 1.0)})
    changed = spec.model_copy(update={"configurations": rows, "difficulty": flat})
    return Profile(profile.resource.model_copy(update={"spec": changed}))


@dataclass(frozen=True)
class Making:
    """What a policy is made from."""

    profile: Profile
    slo_s: float
    seed: int = 0
    tuning: Tuning = Tuning()
    every_s: float = PLAN_EVERY_S
    """Period of our own control step."""


def _hadis(making: Making) -> Named:
    return Named(Hadis(making.profile, making.tuning, making.every_s))


def _random_mix(making: Making) -> Named:
    """Return our own control step without any look at the query: two tiers mixed at random, nothing deferred."""
    flat = _without_deferral(making.profile)
    return Named(Hadis(flat, making.tuning, making.every_s), _drawn(making.seed))


def _paper(making: Making) -> Named:
    """Return the paper's planner (sections 4.2 and 4.3): its Pareto rows, every 5 s, light charged with everything."""
    return Named(Epochs(making.profile, making.slo_s, _pareto(making.profile), light_sees_all=True))


def _diffserve(making: Making) -> Named:
    """Return DiffServe (MLSys 2025): one fixed pair, every prompt to light first, the threshold planned.

    The pair is the one whose range of quality and cost is widest, the lightest and the heaviest tier: a fixed pair
    must serve the lowest and the highest load.
    """
    names = list(making.profile.tiers)
    rows = [row for row in rows_of(making.profile) if row[:2] == (names[0], names[-1]) and row[2] == 0]
    return Named(Epochs(making.profile, making.slo_s, rows, light_sees_all=True))


def _proteus(making: Making) -> Named:
    """Return Proteus (ASPLOS 2024): accuracy scaling by a mix of variants that no query is looked at for."""
    rows = [row for row in rows_of(making.profile) if row[3] == 0]
    return Named(Epochs(making.profile, making.slo_s, rows), _drawn(making.seed))


def _single(*, heaviest: bool) -> Callable[[Making], Named]:
    def make(making: Making) -> Named:
        """Return Clipper's way (NSDI 2017): one model for all, its batch adapted to the objective."""
        name = list(making.profile.tiers)[-1 if heaviest else 0]
        return Named(Epochs(making.profile, making.slo_s, [(name, name, 0.0, 0.0, 1.0)]))

    return make


POLICIES: dict[str, Callable[[Making], Named]] = {
    "hadis": _hadis,
    "hadis-paper": _paper,
    "random-mix": _random_mix,
    "diffserve": _diffserve,
    "proteus": _proteus,
    "all-light": _single(heaviest=False),
    "all-heavy": _single(heaviest=True),
}
