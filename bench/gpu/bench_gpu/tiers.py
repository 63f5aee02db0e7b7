"""Which tiers are measured, in which ways, and in which order: time runs out, so what is asked for most comes first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hadis.api.tier import Tier, TierSettings
from hadis_profiler.offline.engines import as_tier

from bench_gpu.models import REAL, Family, tiny

PLAIN, EAGER, COMPILE = "plain diffusers", "eager", "compile"
"""Ways to run a tier: without the worker, and by it without and with its `speed.compile`."""
LARGER_BATCHES = (2, 4, 8)
_FP8 = (8, 9)
"""Compute capability from which on matrix units compute in fp8."""


@dataclass(frozen=True)
class Subject:
    """A tier to measure."""

    name: str
    family: Family
    steps: int
    guidance: float
    measured_steps: int
    """How many of the steps are measured; the time of all is reckoned."""
    size: str = "1024x1024"
    true_guidance: bool = False
    """Whether guidance is what diffusers calls `true_cfg_scale`, with a negative prompt."""

    def tier(self, settings: Mapping[str, Any]) -> Tier:
        """Return the tier with its speed and quantization; raise ValueError for settings that no tier may have."""
        document = {
            "name": self.name,
            "model": "random",
            "steps": self.measured_steps,
            "guidance": self.guidance,
            "size": self.size,
        }
        return as_tier(TierSettings.model_validate({**document, **settings}))


@dataclass(frozen=True)
class Group:
    """A tier, run in one way at some batch sizes one after the other."""

    subject: Subject
    way: str
    batches: tuple[int, ...]


_TIERS = (
    ("flux-dev", "flux", 28, 3.5),
    ("sd35-large", "sd35-large", 50, 4.5),
    ("sdxl", "sdxl", 30, 5.0),
    ("sdxl-lightning", "sdxl", 4, 0.0),
    ("z-image-turbo", "z-image", 9, 0.0),
    ("sd35-medium", "sd35-medium", 40, 4.5),
    ("qwen-image", "qwen-image", 50, 4.0),
)
"""Name, family, steps and guidance."""


def chosen_subjects(names: str, steps: int, small: bool) -> tuple[Subject, ...]:
    """Return tiers by their names with commas ("": all), of which so many steps are measured at most (0: all).

    `small` ones are quick on a CPU. Raises ValueError for a name that no tier has.
    """
    known = {
        name: Subject(
            name,
            tiny(REAL[family]) if small else REAL[family],
            all_steps,
            guidance,
            measured_steps=min(steps or all_steps, all_steps),
            size="64x64" if small else "1024x1024",
            true_guidance=family == "qwen-image",
        )
        for name, family, all_steps, guidance in _TIERS
    }
    chosen = [name.strip() for name in names.split(",") if name.strip()] or list(known)
    for name in chosen:
        if name not in known:
            raise ValueError(f"no tier is named {name!r}; there are {', '.join(known)}")
    return tuple(known[name] for name in chosen)


@dataclass(frozen=True)
class Ways:
    """The ways in which a tier is run on a device."""

    attention: str
    """An attention backend that the device has."""
    quantization: str
    """A type that its matrix units compute with."""

    @property
    def names(self) -> tuple[str, ...]:
        """All, as the table has them."""
        return (PLAIN, EAGER, COMPILE, f"{COMPILE}, {self.attention}", f"{COMPILE}, {self.quantization}")

    def settings(self, way: str, family: Family) -> dict[str, Any]:
        """Return what a tier says to be run in a way."""
        if way in (PLAIN, EAGER):
            return {}
        unet = family.denoiser_name == "unet"
        speed: dict[str, Any] = {"compile": "full", "channelsLast": True} if unet else {"compile": "regional"}
        if way.endswith(self.attention):
            return {"speed": {**speed, "attention": self.attention}}
        if way.endswith(self.quantization):
            how = {"kind": "torchao", "type": self.quantization}
            return {"speed": speed, "quantization": {family.denoiser_name: how}}
        return {"speed": speed}


def ways_of(device: str) -> Ways:
    """Return the ways in which tiers are run on a device."""
    if device == "cpu":
        return Ways("_native_math", "int8DynamicActivationInt8Weight")
    fp8 = torch.cuda.get_device_capability() >= _FP8
    return Ways("_native_cudnn", "float8DynamicActivationFloat8Weight" if fp8 else "int8DynamicActivationInt8Weight")


def groups(chosen: Sequence[Subject], ways: Ways) -> Iterator[Group]:
    """Yield what is measured, in order: single images before batches, and of each what compiling gives first."""
    first = PLAIN, COMPILE
    others = tuple(way for way in ways.names if way not in first)
    for batches in ((1,), LARGER_BATCHES):
        for some in (first, others):
            for subject in chosen:
                yield from (Group(subject, way, batches) for way in some)
