"""One replay, from files and options to its summary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hadis.api.fields import parse_duration_s
from hadis.api.optimize import Optimize
from hadis.api.resources import ServiceSpec
from hadis.planning.profile import Profile
from hadis.planning.tuning import Tuning

from hadis_profiler.replay.clients import ClientMix
from hadis_profiler.replay.disturbances import Disturbances, disturbed_arrivals
from hadis_profiler.replay.inputs import ScoredPrompts, read_trace
from hadis_profiler.replay.only import OnlyTier
from hadis_profiler.replay.plot import Timeline
from hadis_profiler.replay.policies import PLAN_EVERY_S, POLICIES, Making
from hadis_profiler.replay.quality import OutcomeTally, Summary
from hadis_profiler.replay.setting import Setting
from hadis_profiler.replay.simulate import Outcome, Ran, replay
from hadis_profiler.replay.sizes import SizeMix


@dataclass(frozen=True)
class Aim:
    """What to optimise within the latency objective, as a service's `objective` says it."""

    optimize: Optimize = Optimize.QUALITY
    quality: float | None = None
    gpu_price: float | None = None
    """Money per GPU hour."""

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of an objective; those that are None are left out."""
        options = {"optimize": self.optimize.value, "quality": self.quality, "gpuPrice": self.gpu_price}
        return {name: value for name, value in options.items() if value is not None}


@dataclass(frozen=True)
class Inputs:
    """What one replay needs, read and checked."""

    profile: Profile
    prompts: ScoredPrompts
    trace: Path
    slo: str
    attainment: float
    stretch: float = 1.0
    disturbances: Disturbances = Disturbances()
    clients: ClientMix = ClientMix()
    sizes: SizeMix = SizeMix()
    only: OnlyTier = OnlyTier()
    aim: Aim = Aim()
    gpus_per_worker: int = 1

    @cached_property
    def end_s(self) -> float:
        """When the last request of the trace arrives."""
        return max((at_s for at_s, _ in read_trace(self.trace, len(self.prompts), self.stretch)), default=0.0)

    def run(
        self,
        policy: str,
        gpus: int,
        shared: bool,
        change_cost_s: float,
        seed: int,
        record: Callable[[Outcome], None],
        timeline: Timeline | None = None,
        tuning: Tuning = Tuning(),
        plan_every_s: float = PLAN_EVERY_S,
    ) -> tuple[Summary, Ran]:
        """Replay once; every outcome also goes to `record`. `plan_every_s` is the period of our own control step."""
        slo_s = parse_duration_s(self.slo)
        profile = self.sizes.known_by(with_load_seconds(self.profile, change_cost_s))
        spec = ServiceSpec.read(
            {
                "profile": profile.resource.metadata.name,
                "gpus": {"min": gpus, "max": gpus},  # a GPU that is there costs the same when it idles
                "objective": {"latency": self.slo, "attainment": self.attainment, **self.aim.fields},
                "placement": "Shared" if shared else "Dedicated",
                "worker": {"gpusPerWorker": self.gpus_per_worker},
            }
        )
        named = POLICIES[policy](Making(profile, slo_s, seed, tuning, plan_every_s))
        judge = OutcomeTally(profile, slo_s)

        def take(outcome: Outcome) -> None:
            judge.add(outcome)
            record(outcome)
            if timeline:
                timeline.add(outcome)

        arrivals = read_trace(self.trace, len(self.prompts), self.stretch)
        if self.disturbances != Disturbances():
            self.disturbances.check(list(profile.tiers), spec.worker_bounds.max, self.end_s)
            by_difficulty = self.prompts.difficulty.argsort(kind="stable").tolist()
            arrivals = disturbed_arrivals(arrivals, self.disturbances, by_difficulty, self.end_s, seed)
        setting = Setting(
            profile,
            spec,
            change_cost_s,
            disturbances=self.disturbances,
            seed=seed,
            clients=self.clients,
            sizes=self.sizes,
            only=self.only,
        )
        planned = timeline.planned if timeline else lambda at, plan: None
        ran = replay(setting, named.policy, arrivals, self.prompts, take, named.score, planned)
        return judge.summary(), ran


def with_load_seconds(profile: Profile, seconds: float) -> Profile:
    """Return the profile with this time for every change of tier."""
    return profile.with_tiers(
        tuple(tier.model_copy(update={"load_seconds": seconds}) for tier in profile.tiers.values())
    )
