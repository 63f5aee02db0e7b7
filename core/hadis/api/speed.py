"""How a tier's model is made fast or small: compiled, cached between steps, quantized, kept out of GPU memory."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints
from pydantic.alias_generators import to_camel

from hadis.api.fields import Fields, Off
from hadis.api.rules import Rule

DENOISERS = ("transformer", "unet")
"""Names that pipelines have for the component that runs at every step."""
CacheKind = Literal["firstBlock", "taylorSeer", "magCache", "fasterCache"]
_CACHE_ARGUMENTS: dict[CacheKind, frozenset[str]] = {
    "firstBlock": frozenset({"threshold"}),
    "taylorSeer": frozenset({"cache_interval", "disable_cache_before_step", "disable_cache_after_step", "max_order"}),
    "magCache": frozenset({"threshold", "max_skip_steps", "retention_ratio", "mag_ratios"}),
    "fasterCache": frozenset({"spatial_attention_block_skip_range", "spatial_attention_timestep_skip_range"}),
}
_QUANTIZATION_TYPES = {
    "torchao": (
        "int4WeightOnly",
        "int8WeightOnly",
        "int8DynamicActivationInt8Weight",
        "float8WeightOnly",
        "float8DynamicActivationFloat8Weight",
    ),
    "bitsandbytes": ("int8", "nf4", "fp4"),
}


def _has(name: str) -> str:
    """Return CEL for whether an argument is set; a list is, by its default."""
    return "size(self.magRatios) > 0" if name == "mag_ratios" else f"has(self.{to_camel(name)})"


def _of_its_kinds(name: str) -> Rule:
    kinds = [kind for kind, names in _CACHE_ARGUMENTS.items() if name in names]
    return Rule(
        f"!({_has(name)}) || self.kind in {kinds}",
        lambda cache: name not in cache.arguments or cache.kind in kinds,
        f"{to_camel(name)} is an argument of {' and '.join(kinds)}; leave it out, or write another kind",
    )


class StepCache(Fields):
    """A cache of what changes little between steps. Its arguments are those of diffusers' class, with its defaults."""

    rules = (
        *map(_of_its_kinds, sorted(frozenset().union(*_CACHE_ARGUMENTS.values()))),
        Rule(
            f"self.kind != 'magCache' || {_has('mag_ratios')}",
            lambda cache: cache.kind != "magCache" or bool(cache.mag_ratios),
            "magCache needs magRatios, which are the model's; diffusers' MagCache measures them",
        ),
    )
    kind: CacheKind = Field(description="diffusers' FirstBlockCache, TaylorSeer, MagCache or FasterCache.")
    threshold: float | None = Field(
        None, gt=0, le=10, description="firstBlock, magCache: how much may change before blocks are computed again."
    )
    cache_interval: int | None = Field(
        None, ge=1, le=100, description="taylorSeer: steps from one that is computed to the next."
    )
    disable_cache_before_step: int | None = Field(
        None, ge=0, le=1000, description="taylorSeer: the first steps, which are all computed."
    )
    disable_cache_after_step: int | None = Field(
        None, ge=0, le=1000, description="taylorSeer: from this step on all are computed."
    )
    max_order: int | None = Field(None, ge=0, le=4, description="taylorSeer: order of the Taylor expansion.")
    max_skip_steps: int | None = Field(
        None, ge=1, le=100, description="magCache: most steps in a row that are not computed."
    )
    retention_ratio: float | None = Field(
        None, ge=0, le=1, description="magCache: share of the steps, the first, that are all computed."
    )
    mag_ratios: tuple[float, ...] = Field(
        (), max_length=1000, description="magCache: the model's ratios of magnitudes, as MagCache's calibration says."
    )
    spatial_attention_block_skip_range: int | None = Field(
        None, ge=2, le=100, description="fasterCache: attention is computed at one step of so many."
    )
    spatial_attention_timestep_skip_range: tuple[float, ...] | None = Field(
        None, min_length=2, max_length=2, description="fasterCache: lowest and highest timestep that may be skipped."
    )

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments that are set, as diffusers names them."""
        return self.model_dump(exclude={"kind"}, exclude_defaults=True)

    @property
    def depends_on_company(self) -> bool:
        """Whether what is skipped is decided over all images of a call, so that one changes with the others."""
        return self.kind == "firstBlock"


class Vae(Fields):
    """How images are decoded."""

    slicing: bool = Field(False, description="Decode one image after the other: less memory.")
    tiling: bool = Field(False, description="Decode large images in tiles: less memory, and not quite the same image.")


class Speed(Fields):
    """How a model is made fast, or small."""

    rules = (
        Rule(
            "!has(self.cache) || self.compile == 'off' || !(self.cache.kind in ['taylorSeer', 'fasterCache'])",
            lambda speed: (
                speed.cache is None or speed.compile == "off" or speed.cache.kind not in ("taylorSeer", "fasterCache")
            ),
            "compile: taylorSeer and fasterCache work inside blocks, which cannot be compiled then; write off",
        ),
        Rule(
            "!has(self.cache) || self.compile != 'full'",
            lambda speed: speed.cache is None or speed.compile != "full",
            "compile: a cache works between blocks, so only blocks can be compiled; write regional",
        ),
        Rule(
            # The API server checks the default {} before it fills in those below it.
            "!has(self.compile) || self.compile == 'off' || !has(self.offload) || self.offload == 'none'",
            lambda speed: speed.compile == "off" or speed.offload == "none",
            "offload: not of a compiled model; write compile: off",
        ),
    )
    compile: Annotated[Literal["off", "regional", "full"], Off] = Field(
        "off", description="torch.compile. regional: the transformer's blocks. full: the UNet or transformer whole."
    )
    attention: Annotated[str, StringConstraints(min_length=1)] | None = Field(
        None, description="Attention backend of the transformer, as diffusers names it, such as _native_cudnn or sage."
    )
    cache: StepCache | None = Field(None, description="A cache of what changes little between steps.")
    channels_last: bool = Field(False, description="Weights of the UNet and the VAE in channels-last order.")
    vae: Vae = Field(default_factory=Vae)
    offload: Literal["none", "group", "model"] = Field(
        "none",
        description="Keep the model in the node's memory, and move parts of it to the GPU when they run. model: each "
        "component. group: each block.",
    )


def _of_its_library(kind: str, types: tuple[str, ...]) -> Rule:
    return Rule(
        f"self.kind != '{kind}' || self.type in {list(types)}",
        lambda quantization: quantization.kind != kind or quantization.type in types,
        f"type: {kind} has {', '.join(types)}",
    )


class Quantization(Fields):
    """How a component's weights are quantized when they are loaded."""

    rules = tuple(_of_its_library(*item) for item in _QUANTIZATION_TYPES.items())
    kind: Literal["torchao", "bitsandbytes"] = Field(description="Library that quantizes.")
    type: Literal[
        "int4WeightOnly",
        "int8WeightOnly",
        "int8DynamicActivationInt8Weight",
        "float8WeightOnly",
        "float8DynamicActivationFloat8Weight",
        "int8",
        "nf4",
        "fp4",
    ] = Field(description="torchao: its configuration's name; bitsandbytes: int8, nf4 or fp4.")
    skip: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = Field(
        (), max_length=100, description="Modules of the component that keep their precision."
    )

    @property
    def needs_compile(self) -> bool:
        """Whether it is slower than no quantization unless the model is compiled: activations are quantized too."""
        return "DynamicActivation" in self.type
