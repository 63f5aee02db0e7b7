"""CascadeProfile: what was measured of the tiers and their cascades. Quality is a distance: lower is better."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from hadis.api.cascades import MOST_CELLS, Cascade
from hadis.api.difficulty import Difficulty
from hadis.api.fields import Fields, Name, Share
from hadis.api.metadata import Metadata
from hadis.api.pipeline import InsidePath
from hadis.api.rules import RELATIVE, Rule, in_kubernetes
from hadis.api.tier import Tier

MOST_ROWS = 10_000
"""As documents: about 1.1 MB, of the 1.5 MiB that etcd takes."""
MOST_CASCADES = 2080
"""Of 64 tiers, single ones included."""


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
    # Defaults of their own would have the API server write them into every row, and server-side apply see a change.
    best_of_two: bool = Field(
        default_factory=bool,
        description="Whether the heavy image of a deferred request is judged as well, and the more confident of the "
        "two is the answer; else it is always the heavy one.",
    )
    quality: float = Field(gt=0, description="Measured distance (FID or its kind); lower is better.")
    cost: float = Field(ge=0, description="GPU seconds per request in batches of the most throughput.")
    measures: dict[str, float] = Field(
        # A default of its own would have the API server write it into every row, and server-side apply see a change.
        default_factory=dict,
        description="Other measures of the same images. Quality in service is compared with confidence, the "
        "discriminator's mean; the others are for people.",
    )


class SharedWeights(Fields):
    """Weights that are in memory once where a worker has several tiers."""

    tiers: tuple[Name, ...] = Field(min_length=2, max_length=64, description="The tiers that have them in common.")
    bytes: int = Field(ge=1, description="What they take in GPU memory.")


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
    shared_weights: tuple[SharedWeights, ...] = Field(
        default_factory=tuple,
        max_length=256,
        description="Weights that tiers have in common, such as text encoders: where a GPU holds all tiers, they "
        "count once.",
    )
    difficulty: Difficulty
    configurations: tuple[Configuration, ...] = Field(
        default_factory=tuple,
        description="Measured quality and cost of each configuration; the planner chooses among them. One that is in "
        "`cascades` too is taken from here.",
        json_schema_extra={"maxItems": 2 * MOST_ROWS},
    )
    cascades: tuple[Cascade, ...] = Field(
        default_factory=tuple,
        max_length=MOST_CASCADES,
        description="The same in a shorter form: one entry for all ratios of a cascade.",
    )

    @property
    def judged_tiers(self) -> frozenset[str]:
        """Tiers whose images the discriminator may judge: the light ones of pairs, and heavy ones beside them."""
        if self.discriminator is None:
            return frozenset()
        pairs = [row for row in self.configurations if row.light != row.heavy]
        return frozenset(row.light for row in pairs) | {row.heavy for row in pairs if row.best_of_two}

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        order = {tier.name: i for i, tier in enumerate(self.tiers)}
        if len(order) != len(self.tiers):
            raise ValueError("tiers: each name may stand once")
        for i, weights in enumerate(self.shared_weights):
            if unknown := [name for name in weights.tiers if name not in order]:
                raise ValueError(f"sharedWeights.{i}: no tier is named {unknown[0]!r}; there are {', '.join(order)}")
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


def _at(row: Configuration) -> tuple[str, str, bool, float, float]:
    return row.light, row.heavy, row.best_of_two, row.direct_ratio, row.deferral_ratio


class CascadeProfile(Fields):
    """Latency, quality and cost of every configuration of a cascade, as measured offline."""

    api_version: Literal["hadis.dev/v1alpha1"]
    kind: Literal["CascadeProfile"]
    metadata: Metadata
    spec: ProfileSpec
    status: dict[str, Any] | None = Field(None, exclude=True)
