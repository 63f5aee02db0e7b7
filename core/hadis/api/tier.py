"""A tier: what its model is and how it is called, and what was measured of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from hadis.api.edits import Edits
from hadis.api.fields import Fields, Name, Off, Positive, Share
from hadis.api.pipeline import Component, Lora, ModelPath, Revision, Scheduler, Size, Text
from hadis.api.remote import EXTRA_OF, Remote, check_remote
from hadis.api.rules import Rule, in_kubernetes
from hadis.api.speed import DENOISERS, Quantization, Speed


class BatchLatency(Fields):
    """Measured time and energy of one batch on one GPU."""

    batch: int = Field(ge=1, le=1024, description="Images in the batch.")
    size: Size | None = Field(None, description="Width x height of the images, in pixels; default: the tier's first.")
    seconds: Positive = Field(description="Median time of the whole batch, without the discriminator.")
    joules: float | None = Field(None, gt=0, description="Energy of the whole batch, where the GPU reports it.")


_WITH_ITEMS = ("components", "loras", "quantization")


def _of_remote_tiers() -> tuple[Rule, ...]:
    """Return what `check_remote` says of the fields that the API server can tell from their defaults."""
    plain = ("revision", "variant", "pipeline", "trueGuidance", "maxSequenceLength")
    unset = {name: f"!has(self.{name})" for name in plain}
    unset |= {name: f"(!has(self.{name}) || size(self.{name}) == 0)" for name in _WITH_ITEMS}
    alone, names = " && ".join(unset.values()), ", ".join(unset)
    return (
        in_kubernetes(
            f"!has(self.remote) || ({alone})",
            f"remote: {names} are for tiers whose weights a worker loads; leave them out",
        ),
        *(
            in_kubernetes(
                f"!(has(self.remote) && has(self.{field})) || '{extra}' in self.remote.accepts",
                f"{field}: the endpoint is not told; write {extra} in remote.accepts, if it takes that",
            )
            for field, extra in EXTRA_OF.items()
        ),
    )


class TierSettings(Fields):
    """One model variant with its pipeline settings."""

    rules = (
        *_of_remote_tiers(),
        Rule(
            "!has(self.size) || size(self.sizes) == 0 || self.size == self.sizes[0]",
            lambda tier: not tier.sizes or tier.size == tier.sizes[0],
            "size: it is the first of sizes; leave size out",
        ),
        Rule(
            "!(has(self.speed.cache) && self.tunable)",
            lambda tier: tier.speed.cache is None or not tier.tunable,
            "speed.cache: not in a tunable tier, for it was measured at the tier's own steps",
        ),
        Rule(
            "!has(self.quantization) || !has(self.components) || self.quantization.all(name, "
            "!(name in self.components) || !has(self.components[name].gguf))",
            lambda tier: not any(part.gguf and name in tier.quantization for name, part in tier.components.items()),
            "quantization: a gguf file is quantized already; leave its component out",
        ),
    )
    name: Name = Field(description="Name of the tier, by which configurations and requests call it.")
    model: ModelPath = Field(description="diffusers repository, or a folder relative to the manifest.")
    remote: Remote | None = Field(None, description="An endpoint that makes the images, in place of a worker's GPU.")
    revision: Revision | None = Field(None, description="Commit, branch or tag of the repository.")
    variant: Text | None = Field(None, description="Variant of the files, such as fp16.")
    pipeline: Text | None = Field(None, description="diffusers pipeline class; default: the one that the model names.")
    components: dict[str, Component] = Field(
        {}, max_length=16, description="Parts of the pipeline from elsewhere, by name."
    )
    loras: tuple[Lora, ...] = Field((), max_length=16, description="LoRAs that are fused into the weights, in order.")
    scheduler: Scheduler = Field(default_factory=Scheduler)
    quantization: dict[str, Quantization] = Field(
        {}, max_length=16, description="How components are quantized, by name."
    )
    speed: Speed = Field(default_factory=Speed)
    steps: int = Field(ge=1, le=1000, description="Denoising steps per image.")
    guidance: float | None = Field(
        None, ge=0, le=100, description="Scale of guidance, as the model does it; 0: none. Default: the pipeline's own."
    )
    true_guidance: float | None = Field(
        None,
        ge=0,
        le=100,
        description="Scale of classifier-free guidance beside a guidance that is distilled into the model (FLUX); "
        "over 1, a step takes twice the time.",
    )
    negative_prompt: str | None = Field(None, description="Negative prompt of requests that have none.")
    max_sequence_length: int | None = Field(
        None, ge=1, le=8192, description="Most tokens of a prompt; default: the pipeline's own."
    )
    call: dict[str, Any] = Field(
        {},
        description="Further arguments of the pipeline's call, as diffusers names them; of a remote tier, further "
        "fields of the request.",
    )
    safety: Annotated[ModelPath, Off] = Field(
        "model",
        description="Who checks what images show: model (the checker that the model brings, if any), off, or the "
        "repository or folder of a checker such as CompVis/stable-diffusion-safety-checker.",
    )
    size: Size = Field(
        # A default of its own would have the API server write it beside `sizes`.
        default_factory=lambda: "1024x1024",
        description="Width x height of an image, in pixels; default: the first of `sizes`, or 1024x1024.",
    )
    sizes: tuple[Size, ...] = Field(
        (),
        max_length=64,
        description="All sizes that the tier makes, where there are several; `auto` is the first.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        "bfloat16", description="Precision of the weights on a GPU; a CPU computes in float32."
    )
    tunable: bool = Field(False, description="Whether a request may set steps and guidance itself.")

    @property
    def all_sizes(self) -> tuple[str, ...]:
        """The sizes that the tier makes; the first, `size`, is of requests that name none."""
        return self.sizes or (self.size,)

    @model_validator(mode="before")
    @classmethod
    def _take_first_size(cls, document: Any) -> Any:
        sizes = document.get("sizes") if isinstance(document, dict) and "size" not in document else None
        return document | {"size": sizes[0]} if sizes and isinstance(sizes, list | tuple) else document

    @model_validator(mode="after")
    def _sizes_differ(self) -> Self:
        if len(set(self.sizes)) < len(self.sizes):
            raise ValueError("sizes: each may stand once")
        return self

    @model_validator(mode="after")
    def _remote_alone(self) -> Self:
        if self.remote is not None:
            check_remote(self.remote, _set_fields(self), self.call)
        return self

    @model_validator(mode="after")
    def _speed_fits(self) -> Self:
        for name, quantization in self.quantization.items():
            if name in DENOISERS and quantization.needs_compile and self.speed.compile == "off":
                raise ValueError(
                    f"quantization.{name}: {quantization.type} is slower than {self.dtype} unless the model is "
                    "compiled; write speed.compile, or a type that ends with WeightOnly"
                )
        return self


_OF_EVERY_TIER = {"name", "model", "remote", "steps", "call", "size", "sizes"}


def _set_fields(tier: TierSettings) -> set[str]:
    """Return the settings, as manifests name them, that not every tier has and that differ from their defaults.

    A default that is written out, as the API server does, is none that anybody set.
    """
    return {
        field.alias or name
        for name, field in TierSettings.model_fields.items()
        if name not in _OF_EVERY_TIER and getattr(tier, name) != field.get_default(call_default_factory=True)
    }


def _rises(numbers: list[int]) -> bool:
    return numbers == sorted(set(numbers))


class Tier(TierSettings):
    """A tier with what was measured of it."""

    rules = (
        Rule("self.latency[0].batch == 1", lambda tier: tier.latency[0].batch == 1, "latency: write batch 1 first"),
        Rule(
            "self.latency.exists(point, has(point.size)) || self.latency.map(point, point.batch).isSorted()",
            lambda tier: all(_rises([p.batch for p in points]) for points in tier.latency_by_size.values()),
            "latency: batch sizes must rise, each named once",
        ),
        Rule(
            "self.confidenceQuantiles.isSorted()",
            lambda tier: list(tier.confidence_quantiles) == sorted(tier.confidence_quantiles),
            "confidenceQuantiles: must not fall",
        ),
    )
    latency: tuple[BatchLatency, ...] = Field(
        min_length=1,
        max_length=512,
        description="Measured times by batch size, rising from 1: of every image size, or of the first alone; times of "
        "other sizes are then in proportion to their pixels.",
    )
    memory_bytes: int = Field(0, ge=0, description="GPU memory that the resident tier and its largest batch take.")
    load_seconds: float = Field(0.0, ge=0, description="Measured time to load the tier onto the GPU.")
    discriminator_seconds: float = Field(0.0, ge=0, description="Time of the discriminator for one batch of this tier.")
    negative_prompts: bool | None = Field(
        None, description="Whether the tier takes negative prompts; default: what its workers report."
    )
    edits: Edits | None = Field(
        None, description="What the tier can make from images; default: what its workers report."
    )
    prompt_tokens: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="Tokens of a prompt that the tier's text encoders read, their own included; words after these do "
        "not make a prompt harder.",
    )
    confidence_quantiles: tuple[Share, ...] = Field(
        (), max_length=1001, description="Evenly spaced quantiles (0 to 1) of the confidence of this tier's images."
    )

    @property
    def latency_by_size(self) -> dict[str, tuple[BatchLatency, ...]]:
        """The measured times of each image size that was measured."""
        sizes = dict.fromkeys(point.size or self.size for point in self.latency)
        return {size: tuple(p for p in self.latency if (p.size or self.size) == size) for size in sizes}

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        measured = self.latency_by_size
        needed = self.all_sizes if len(measured) > 1 else (self.size,)
        if missing := [size for size in needed if size not in measured]:
            raise ValueError(f"latency: {', '.join(missing)} is not measured; measure every size, or the first alone")
        for size, points in measured.items():
            if size not in self.all_sizes:
                raise ValueError(f"latency: the tier does not make {size}; it makes {', '.join(self.all_sizes)}")
            if points[0].batch != 1:
                raise ValueError("latency: the first batch size must be 1")
        return self
