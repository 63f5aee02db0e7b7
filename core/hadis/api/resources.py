"""The custom resources as pydantic models: DiffusionService (what a user asks for), CascadeProfile (what was measured).

The same documents serve Kubernetes and `hadis up`. Quality is a distance: lower is better.
"""

from __future__ import annotations

import hashlib
import json
import re
from enum import StrEnum
from itertools import pairwise
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from hadis.api.access import Access
from hadis.api.fields import Fields, Name, Positive, PositiveDuration, Share
from hadis.api.images_api import ImagesApi
from hadis.api.rollout import RolloutSpec
from hadis.api.tier import Tier
from hadis.api.tracing import Tracing
from hadis.api.workload import MetricsSource, RouterPods, WorkerPods

API_VERSION = "hadis.dev/v1alpha1"
_CLIENT_KEY = re.compile(r"sha256:[0-9a-f]{16}|user:.+|address:.+", re.DOTALL)


class Metadata(Fields):
    """The part of Kubernetes' object metadata that one machine needs."""

    name: Name
    namespace: Name | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Optimize(StrEnum):
    """What is optimised within the latency objective; `hadis.planning.objectives` says what each means for plans."""

    QUALITY = "Quality"
    COST = "Cost"

    @property
    def needs_quality(self) -> bool:
        """Whether the objective must name a quality to reach."""
        return self is not Optimize.QUALITY


class Objective(Fields):
    """What to reach: a latency objective, and what to optimise under it."""

    optimize: Optimize = Field(
        Optimize.QUALITY,
        description="Quality: the best that the GPUs allow. Cost: the fewest GPUs that reach `quality`.",
    )
    latency: PositiveDuration = Field(description="Latency objective from request to image, for example 30s.")
    attainment: float = Field(0.99, gt=0, lt=1, description="Share of the requests that must meet the latency.")
    quality: float | None = Field(
        None, gt=0, description="The quality (a distance, lower is better) to reach; Cost needs one."
    )

    @model_validator(mode="after")
    def _has_quality_to_reach(self) -> Self:
        # The API server checks the same: see RULES in hadis.api.crd.
        if self.optimize.needs_quality and self.quality is None:
            raise ValueError(f"optimize: {self.optimize} needs a quality to reach; write objective.quality")
        return self


class Gpus(Fields):
    """The GPU budget (on one machine without GPUs: worker processes)."""

    min: int = Field(0, ge=0, description="Never fewer than this many.")
    max: int = Field(ge=0, description="Never more than this many.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) is over max ({self.max})")
        return self


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

    profile: Name = Field(description="Name of the CascadeProfile.")
    objective: Objective
    gpus: Gpus
    placement: Literal["Shared", "Dedicated"] | None = Field(
        None,
        description="Shared: each worker keeps all tiers. Dedicated: one tier per worker. Default: Shared if they fit.",
    )
    plan_every: PositiveDuration = Field("2s", description="How often the plan is made anew.")
    scale_down_after: PositiveDuration = Field(
        "120s", description="GPUs are given back when fewer have sufficed for this long."
    )
    queue: Queue = Field(default_factory=Queue)
    api: ImagesApi = Field(default_factory=ImagesApi)
    access: Access = Field(default_factory=Access)
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


class DiffusionService(Fields):
    """An OpenAI-compatible endpoint that serves a cascade of diffusion models within a latency objective."""

    api_version: Literal["hadis.dev/v1alpha1"]
    kind: Literal["DiffusionService"]
    metadata: Metadata
    spec: ServiceSpec
    status: dict[str, Any] | None = None


class Difficulty(Fields):
    """The router's difficulty score: z-scored text features times weights."""

    features: tuple[str, ...] = Field(min_length=1, description="Names of the text features.")
    mean: tuple[float, ...] = Field(description="Mean of each feature over the profiled prompts.")
    std: tuple[Positive, ...] = Field(description="Standard deviation of each feature over the profiled prompts.")
    weights: tuple[float, ...] = Field(description="Weight of each z-scored feature in the score.")
    quantiles: tuple[float, ...] = Field(min_length=2, description="Evenly spaced quantiles (0 to 1) of the score.")

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        if not len(self.features) == len(self.mean) == len(self.std) == len(self.weights):
            raise ValueError("features, mean, std and weights must be of one length")
        if any(a > b for a, b in pairwise(self.quantiles)):
            raise ValueError("quantiles: must not fall")
        return self


class Configuration(Fields):
    """One row of the measured table. For a single tier, light and heavy are the same and both ratios 0."""

    light: Name = Field(description="Light tier of the cascade.")
    heavy: Name = Field(description="Heavy tier of the cascade.")
    direct_ratio: Share = Field(description="Share of the requests, the hardest, that go straight to the heavy tier.")
    deferral_ratio: Share = Field(
        description="Share of the light images, the least confident, that the heavy tier generates again."
    )
    quality: float = Field(gt=0, description="Measured distance (FID or its kind); lower is better.")
    cost: float = Field(ge=0, description="GPU seconds per request in batches of the most throughput.")
    measures: dict[str, float] = Field({}, description="Other measures of the same images, for people to compare.")


class ProfileSpec(Fields):
    """What was measured for a model set on a GPU type."""

    gpu_product: str = Field("cpu", description="As in the node label nvidia.com/gpu.product.")
    gpu_memory_bytes: int = Field(0, ge=0, description="Memory of the GPU that was measured on; 0: not known.")
    software: dict[str, str] = Field({}, description="Versions of the software that was measured with.")
    source: str = Field("", description="Where the numbers come from.")
    discriminator: str | None = Field(
        None,
        description="Folder of the discriminator, relative to the manifest; without one no image is deferred.",
    )
    tiers: tuple[Tier, ...] = Field(min_length=1, max_length=64, description="From light to heavy.")
    difficulty: Difficulty
    configurations: tuple[Configuration, ...] = Field(
        min_length=1, description="Measured quality and cost of each configuration; the planner chooses among them."
    )

    @property
    def judged_tiers(self) -> frozenset[str]:
        """Tiers whose images the discriminator may judge: the light ones of pairs."""
        if self.discriminator is None:
            return frozenset()
        return frozenset(row.light for row in self.configurations if row.light != row.heavy)

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        order = [tier.name for tier in self.tiers]
        if len(set(order)) != len(order):
            raise ValueError("tiers: each name may stand once")
        for i, row in enumerate(self.configurations):
            for name in (row.light, row.heavy):
                if name not in order:
                    raise ValueError(f"configurations.{i}: no tier is named {name!r}; there are {', '.join(order)}")
            if order.index(row.light) > order.index(row.heavy):
                raise ValueError(f"configurations.{i}: light tier {row.light!r} comes after heavy tier {row.heavy!r}")
            if row.light == row.heavy and (row.direct_ratio or row.deferral_ratio):
                raise ValueError(f"configurations.{i}: a single tier has ratios of 0")
            if row.deferral_ratio and self.discriminator is None:
                raise ValueError(
                    f"configurations.{i}: nothing says which images to defer; name the discriminator's folder in "
                    "`discriminator`, or leave out the rows with a deferralRatio over 0"
                )
        return self


class CascadeProfile(Fields):
    """Latency, quality and cost of every configuration of a cascade, as measured offline."""

    api_version: Literal["hadis.dev/v1alpha1"]
    kind: Literal["CascadeProfile"]
    metadata: Metadata
    spec: ProfileSpec

    def content_hash(self) -> str:
        """Return a hash of the spec alone, the same on every machine."""
        text = json.dumps(self.spec.model_dump(mode="json", by_alias=True), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
