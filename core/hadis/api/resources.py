"""The custom resources as pydantic models: DiffusionService (what a user asks for), CascadeProfile (what was measured).

The same documents serve Kubernetes and `hadis up`. Quality is a distance: lower is better.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, field_validator, model_validator

from hadis.api.access import Access
from hadis.api.cascades import MOST_CELLS, Cascade
from hadis.api.difficulty import Difficulty as Difficulty
from hadis.api.fields import Duration, Fields, Name, Positive, PositiveDuration, Share, between, parse_duration_s
from hadis.api.images_api import ImagesApi
from hadis.api.optimize import OBJECTIVES, needs_of_objectives
from hadis.api.optimize import Optimize as Optimize
from hadis.api.pipeline import InsidePath
from hadis.api.prometheus import MetricsSource
from hadis.api.rollout import RolloutSpec
from hadis.api.rules import RELATIVE, Rule, in_kubernetes
from hadis.api.tier import Tier
from hadis.api.tracing import Tracing
from hadis.api.workload import RouterPods, WorkerPods

API_VERSION = "hadis.dev/v1alpha1"
MOST_ROWS = 10_000
"""As documents: about 1.1 MB, of the 1.5 MiB that etcd takes."""
MOST_CASCADES = 2080
"""Of 64 tiers, single ones included."""
_MOST_GPUS = 1024
"""Of one service: with twice as many, a plan of dedicated workers takes the operator a second and half a GiB."""
_CLIENT_KEY = re.compile(r"sha256:[0-9a-f]{16}|user:.+|address:.+", re.DOTALL)


class Metadata(Fields):
    """The part of Kubernetes' object metadata that one machine needs."""

    name: Name
    namespace: Name | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


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
        None, description="Money per hour of one GPU, in any currency; what images and GPUs cost is told in it."
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
    weight: Positive = Field(1, description="Its part of the pool, where services compete for it, is by weight.")


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


class Configuration(Fields):
    """One row of the measured table. For a single tier, light and heavy are the same and both ratios 0."""

    rules = (
        Rule(
            "self.light != self.heavy || (self.directRatio == 0.0 && self.deferralRatio == 0.0)",
            lambda row: row.light != row.heavy or not (row.direct_ratio or row.deferral_ratio),
            "directRatio, deferralRatio: a single tier has ratios of 0",
        ),
    )
    light: Name = Field(description="Light tier of the cascade.")
    heavy: Name = Field(description="Heavy tier of the cascade.")
    direct_ratio: Share = Field(description="Share of the requests, the hardest, that go straight to the heavy tier.")
    deferral_ratio: Share = Field(
        description="Share of the light images, the least confident, that the heavy tier generates again."
    )
    quality: float = Field(gt=0, description="Measured distance (FID or its kind); lower is better.")
    cost: float = Field(ge=0, description="GPU seconds per request in batches of the most throughput.")
    measures: dict[str, float] = Field(
        # A default of its own would have the API server write it into every row, and server-side apply see a change.
        default_factory=dict,
        description="Other measures of the same images, for people to compare.",
    )


class ProfileSpec(Fields):
    """What was measured for a model set on a GPU type."""

    rules = (
        Rule(
            "(has(self.configurations) && size(self.configurations) > 0) || "
            "(has(self.cascades) && size(self.cascades) > 0)",
            lambda spec: bool(spec.configurations or spec.cascades),
            "there is nothing to plan with; write configurations or cascades",
        ),
        in_kubernetes(
            f"!has(self.configurations) || size(self.configurations) <= {MOST_ROWS}",
            f"configurations: at most {MOST_ROWS} rows; write them as cascades, which is ten times shorter",
        ),
        in_kubernetes(
            f"!has(self.cascades) || self.cascades.map(cascade, size(cascade.quality)).sum() <= {MOST_CELLS}",
            f"cascades: at most {MOST_CELLS} numbers of quality in all; leave out cascades, or steps of their ratios",
        ),
    )
    gpu_product: str = Field("cpu", description="As in the node label nvidia.com/gpu.product.")
    gpu_memory_bytes: int = Field(0, ge=0, description="Memory of the GPU that was measured on; 0: not known.")
    software: dict[str, str] = Field({}, description="Versions of the software that was measured with.")
    source: str = Field("", description="Where the numbers come from.")
    discriminator: Annotated[InsidePath, RELATIVE] | None = Field(
        None,
        description="Folder of the discriminator, relative to the manifest; without one no image is deferred.",
    )
    tiers: tuple[Tier, ...] = Field(
        min_length=1,
        max_length=64,
        description="From light to heavy.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    difficulty: Difficulty
    configurations: tuple[Configuration, ...] = Field(
        default_factory=tuple,
        description="Measured quality and cost of each configuration; the planner chooses among them. One that is in "
        "`cascades` too is taken from here.",
        json_schema_extra={"maxItems": 2 * MOST_ROWS},
    )
    cascades: tuple[Cascade, ...] = Field(
        default_factory=tuple, max_length=MOST_CASCADES, description="The same, of whole cascades at a time: shorter."
    )

    @property
    def judged_tiers(self) -> frozenset[str]:
        """Tiers whose images the discriminator may judge: the light ones of pairs."""
        if self.discriminator is None:
            return frozenset()
        return frozenset(row.light for row in self.configurations if row.light != row.heavy)

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        order = {tier.name: i for i, tier in enumerate(self.tiers)}
        if len(order) != len(self.tiers):
            raise ValueError("tiers: each name may stand once")
        for i, row in enumerate(self.configurations):
            self._check_cascade(f"configurations.{i}", row, order, row.deferral_ratio > 0)
        for i, cascade in enumerate(self.cascades):
            self._check_cascade(f"cascades.{i}", cascade, order, cascade.deferral_ratios[-1] > 0)
        return self

    def _check_cascade(self, where: str, row: Configuration | Cascade, order: dict[str, int], defers: bool) -> None:
        for name in (row.light, row.heavy):
            if name not in order:
                raise ValueError(f"{where}: no tier is named {name!r}; there are {', '.join(order)}")
        if order[row.light] > order[row.heavy]:
            raise ValueError(f"{where}: light tier {row.light!r} comes after heavy tier {row.heavy!r}")
        if defers and self.discriminator is None:
            raise ValueError(
                f"{where}: nothing says which images to defer; name the discriminator's folder in "
                "`discriminator`, or leave out the rows with a deferralRatio over 0"
            )

    @model_validator(mode="wrap")
    @classmethod
    def _write_out(cls, document: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Read `cascades` as the configurations that they are, so that nothing else needs to know them."""
        spec = handler(document)
        if not spec.cascades:
            return spec
        alone = {_at(row) for row in spec.configurations}
        rows = (_configuration(row) for cascade in spec.cascades for row in cascade.rows())
        others = tuple(row for row in rows if _at(row) not in alone)
        return spec.model_copy(update={"configurations": others + spec.configurations, "cascades": ()})


def _configuration(row: dict[str, Any]) -> Configuration:
    return Configuration.model_construct(**row)  # the grid was checked


def _at(row: Configuration) -> tuple[str, str, float, float]:
    return row.light, row.heavy, row.direct_ratio, row.deferral_ratio


class CascadeProfile(Fields):
    """Latency, quality and cost of every configuration of a cascade, as measured offline."""

    api_version: Literal["hadis.dev/v1alpha1"]
    kind: Literal["CascadeProfile"]
    metadata: Metadata
    spec: ProfileSpec
    status: dict[str, Any] | None = Field(None, exclude=True)
