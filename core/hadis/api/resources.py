"""The custom resources as pydantic models: DiffusionService (what a user asks for); `CascadeProfile` beside it.

The same documents serve Kubernetes and `hadis up`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from hadis.api.access import Access
from hadis.api.cache import CacheSpec
from hadis.api.cascade_profile import CascadeProfile as CascadeProfile
from hadis.api.cascade_profile import Configuration as Configuration
from hadis.api.cascade_profile import ProfileSpec as ProfileSpec
from hadis.api.difficulty import Difficulty as Difficulty
from hadis.api.fields import Duration, Fields, Name, Positive, PositiveDuration, between, parse_duration_s
from hadis.api.images_api import ImagesApi
from hadis.api.metadata import API_VERSION as API_VERSION
from hadis.api.metadata import Metadata as Metadata
from hadis.api.optimize import OBJECTIVES, needs_of_objectives
from hadis.api.optimize import Optimize as Optimize
from hadis.api.prometheus import MetricsSource
from hadis.api.rollout import RolloutSpec
from hadis.api.rules import Rule
from hadis.api.tracing import Tracing
from hadis.api.watch import PromptSampleSpec, WatchSpec
from hadis.api.workload import RouterPods, WorkerPods

_MOST_GPUS = 1024
"""Of one service: with twice as many, a plan of dedicated workers takes the operator a second and half a GiB."""
_CLIENT_KEY = re.compile(r"sha256:[0-9a-f]{16}|user:.+|address:.+", re.DOTALL)


class Objective(Fields):
    """What to reach: a latency objective, and what to optimise under it."""

    rules = (
        *needs_of_objectives(),
        Rule(
            "!has(self.firstImage) || duration(self.firstImage) >= duration(self.latency)",
            lambda objective: (
                objective.first_image is None
                or parse_duration_s(objective.first_image) >= parse_duration_s(objective.latency)
            ),
            "firstImage must not be shorter than latency",
        ),
    )
    optimize: Optimize = Field(Optimize.QUALITY, description=OBJECTIVES)
    latency: PositiveDuration = Field(description="Latency objective from request to image, for example 30s.")
    first_image: PositiveDuration | None = Field(
        None,
        description="Latency objective of requests that come while no worker is ready, for example 2m, with "
        "`gpus.idleAfter`; default: `latency`.",
    )
    attainment: float = Field(0.99, ge=0.5, lt=1, description="Share of the requests that must meet the latency.")
    quality: float | None = Field(
        None, gt=0, description="The quality (a distance, lower is better) to reach; all but Quality need one."
    )
    gpu_price: Positive | None = Field(
        None, description="Money per hour of one GPU, in any currency; costs are reported in the same."
    )


class Gpus(Fields):
    """The GPU budget (on one machine without GPUs: worker processes)."""

    rules = (
        Rule("self.min <= self.max", lambda gpus: gpus.min <= gpus.max, "min must not be over max"),
        Rule(
            "!has(self.idleAfter) || self.min == 0",
            lambda gpus: gpus.idle_after is None or gpus.min == 0,
            "idleAfter: with a min workers never go; write min: 0",
        ),
    )
    min: int = Field(0, ge=0, description="Never fewer than this many.")
    max: int = Field(ge=0, le=_MOST_GPUS, description="Never more than this many.")
    idle_after: PositiveDuration | None = Field(
        None,
        description="All workers with GPUs go when no request has come for this long, for example 15m, and come back "
        "with the next one. Default: never. Needs a `min` of 0.",
    )
    pool: Name | None = Field(
        None, description="Name of a GpuPool whose GPUs the service shares with others, on a cluster."
    )
    weight: Positive = Field(1, description="Weight of its share of the pool, where services compete for GPUs.")


class Queue(Fields):
    """Bounds of the router's queues, and what share of them clients have."""

    limit: int = Field(512, ge=1, le=100_000, description="Most jobs that may wait in the router at one time.")
    weights: dict[str, Positive] = Field(
        {},
        description="Weight of a client's fair share, by the client's key; 1 for every other. A key is sha256:DIGITS "
        "for an API key (the first 16 hex digits that `printf %s APIKEY | sha256sum` prints), user:NAME for a "
        "request's `user`, or address:IP.",
    )

    @field_validator("weights", mode="before")
    @classmethod
    def _are_keys(cls, weights: Any) -> Any:
        if isinstance(weights, dict) and not all(_CLIENT_KEY.fullmatch(str(key)) for key in weights):
            # Not saying which: it may be an API key.
            raise ValueError("a key is none of sha256: with 16 hex digits, user:NAME, address:IP")
        return weights


class ServiceSpec(Fields):
    """What a DiffusionService asks for."""

    rules = (
        Rule(
            "!has(self.objective.firstImage) || has(self.gpus.idleAfter)",
            lambda spec: spec.objective.first_image is None or spec.gpus.idle_after is not None,
            "objective.firstImage: workers never all go; write gpus.idleAfter, or leave it out",
        ),
    )
    profile: Name = Field(description="Name of the CascadeProfile.")
    objective: Objective
    gpus: Gpus
    placement: Literal["Shared", "Dedicated"] | None = Field(
        None,
        description="Shared: each worker keeps all tiers. Dedicated: one tier per worker. Default: Shared if they fit.",
    )
    plan_every: Annotated[Duration, between("500ms", "1h")] = Field(
        "2s", description="How often the plan is made anew."
    )
    scale_down_after: Annotated[Duration, between("1s", "24h")] = Field(
        "120s", description="GPUs are given back when fewer have sufficed for this long."
    )
    queue: Queue = Field(default_factory=Queue)
    api: ImagesApi = Field(default_factory=ImagesApi)
    access: Access = Field(default_factory=Access)
    cache: CacheSpec | None = Field(
        None, description="Requests that are alike get one image; default: each is made for itself."
    )
    quality_watch: WatchSpec | None = Field(
        None, description="Compare a sample of the answers with the heavy tier's images; default: none."
    )
    prompt_sample: PromptSampleSpec | None = Field(
        None, description="Keep some prompts, for API keys with `prompts=read`; default: none is kept."
    )
    mode: Literal["Auto", "Advisory", "Paused"] = Field(
        "Auto",
        description="Auto: plan and apply. Advisory: plan and say so, touch no pod. Paused: leave everything as it is.",
    )
    metrics: MetricsSource = Field(default_factory=MetricsSource)
    rollout: RolloutSpec | None = Field(
        None, description="How a changed profile, or another one, comes into force; default: at once."
    )
    tracing: Tracing | None = Field(None, description="Where traces go; default: the operator's setting, else nowhere.")
    router: RouterPods = Field(default_factory=RouterPods)
    worker: WorkerPods = Field(default_factory=WorkerPods)

    @property
    def worker_bounds(self) -> Gpus:
        """How many workers with GPUs there may be: the planner counts workers, the budget GPUs."""
        each = self.worker.gpus_per_worker
        most = self.gpus.max // each
        return Gpus(min=min(most, -(-self.gpus.min // each)), max=most)

    @property
    def first_image_s(self) -> float | None:
        """Seconds that a request which finds no worker may wait; None where workers never all go."""
        longest = self.objective.first_image or self.objective.latency
        return None if self.gpus.idle_after is None else parse_duration_s(longest)


class DiffusionService(Fields):
    """An OpenAI-compatible endpoint that serves a cascade of diffusion models within a latency objective."""

    api_version: Literal["hadis.dev/v1alpha1"]
    kind: Literal["DiffusionService"]
    metadata: Metadata
    spec: ServiceSpec
    status: dict[str, Any] | None = None
