"""The spec of a `hadis profile` run: the models, the prompts, and how quality is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from hadis.api.fields import Fields, Name, PositiveDuration
from hadis.api.tier import TierSettings
from pydantic import Field, model_validator


class SpecError(ValueError):
    """A spec, or something that it names, that cannot be used; the message says where and what to write instead."""


class RunFaults(SpecError):
    """All faults of a run, one line each."""

    def __init__(self, lines: Sequence[str]) -> None:
        """Take the lines."""
        super().__init__("; ".join(lines))
        self.lines = lines


class DiscriminatorSpec(Fields):
    """How the discriminator is trained."""

    clip: str | None = Field(
        None,
        description="CLIP model, a folder or repository, whose features are read; default: a network of its own.",
    )
    text_encoder: str | None = Field(
        None,
        description="Model, a diffusers folder or repository, whose text encoder reads the prompts; its own network "
        "then learns what the scorer would see. Best where a tier's text encoder is small.",
    )
    image_size: Literal[32, 64, 128] = Field(32, description="Pixels of a side of what its own network reads.")
    rounds: int = Field(16, ge=1, le=1000, description="Passes over the training images.")

    @model_validator(mode="after")
    def _one_reader(self) -> Self:
        if self.clip and self.text_encoder:
            raise ValueError("discriminator: clip and textEncoder exclude each other; CLIP reads the prompt as well")
        return self


class RunSpec(Fields):
    """A profiler run."""

    name: Name
    models: str = Field(".", description="Folder of the models, relative to this file.")
    tiers: Annotated[tuple[TierSettings, ...], Field(min_length=2, max_length=8, description="From light to heavy.")]
    prompts: str = Field(description="Text, CSV, parquet or COCO captions (.json), relative to this file.")
    column: str | None = Field(None, description="Column of a CSV or parquet file; default: prompt or caption.")
    count: int = Field(5000, ge=50, le=1_000_000, description="Most prompts to use.")
    seed: int = Field(0, ge=0, lt=2**31)
    device: Literal["auto", "cuda", "cpu"] = "auto"
    threads: int | None = Field(None, ge=1, description="On a CPU: threads of one worker, for the latencies.")
    batches: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = (1, 2, 4, 8, 16, 32)
    seconds_per_point: PositiveDuration = Field("20s", description="Most time for one tier at one batch size.")
    scorer: str = Field("inception", description="inception, clip, or module:function.")
    scorer_weights: str | None = Field(None, description="File or folder of the scorer's weights.")
    reference: str | None = Field(None, description="Folder of real images (inception, clip).")
    discriminator: DiscriminatorSpec = Field(default_factory=DiscriminatorSpec)
    grid: int = Field(11, ge=2, le=41, description="Steps of the direct and of the deferral ratio, ends included.")
    bootstrap: int = Field(40, ge=0, le=1000, description="Resamples for the intervals of the front's rows.")

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        names = [tier.name for tier in self.tiers]
        if len(set(names)) < len(names):
            raise ValueError("tiers: each name may stand once")
        settings = [tier.model_dump(exclude={"name", "tunable"}) for tier in self.tiers]
        for i, tier in enumerate(settings):
            if tier in settings[:i]:
                raise ValueError(f"tiers: {names[settings.index(tier)]} and {names[i]} are the same model and settings")
        if self.batches[0] != 1 or list(self.batches) != sorted(set(self.batches)):
            raise ValueError("batches: must rise from 1, for example [1, 2, 4, 8]")
        return self


@dataclass(frozen=True)
class Run:
    """A spec with the folders that it starts from and works in."""

    spec: RunSpec
    folder: Path
    """Folder of the spec file."""
    work: Path
    """Folder in which stages keep their results."""

    @property
    def models(self) -> Path:
        """Folder that relative models start from."""
        return (self.folder / self.spec.models).resolve()

    def with_prompts(self, path: Path) -> Run:
        """Return the run with the prompts of a text file, a line each."""
        return replace(self, spec=self.spec.model_copy(update={"prompts": str(path.resolve()), "column": None}))

    def path(self, name: str) -> Path:
        """Return a path of the spec, relative to its file."""
        return (self.folder / name).resolve()


def read_run(path: Path, work: Path) -> Run:
    """Return the run of a spec file; raise SpecError."""
    try:
        document: Any = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except yaml.YAMLError as error:
        raise SpecError(f"{path}: is no YAML: {' '.join(str(error).split())}") from None
    try:
        return Run(RunSpec.read(document), path.resolve().parent, work)
    except ValueError as error:
        raise SpecError(f"{path}: {error}") from None
