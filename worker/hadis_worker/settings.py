"""What a worker reads from its environment, once: `HADIS_WORKER_MANIFEST`, `HADIS_WORKER_TIERS` and the rest."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Self

from hadis.api.fields import PositiveDuration, parse_duration_s
from hadis.api.manifest import ManifestError, read_manifest, read_profile, read_resources
from hadis.api.resources import DiffusionService
from hadis.api.tier import Tier
from hadis.protocol.api_keys import api_keys
from hadis.protocol.threads import cpu_count, omp_threads
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class SettingsError(ValueError):
    """Settings that cannot be used; the message is one line that says which and what to write instead."""


class WorkerSettings(BaseSettings):
    """The environment of a worker; every name starts with HADIS_WORKER_."""

    model_config = SettingsConfigDict(env_prefix="HADIS_WORKER_", frozen=True)

    manifest: Path = Field(description="File with the DiffusionService and its CascadeProfile.")
    tiers: Annotated[tuple[str, ...], NoDecode] = Field((), description="Tiers to load, with commas; none: all.")
    models: Path | None = Field(None, description="Folder that relative model paths start from; none: the manifest's.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8100, ge=0, le=65535, description="Port to listen on; 0: any that is free.")
    threads: int = Field(
        0, ge=0, le=1024, description="Threads that torch computes with; 0: OMP_NUM_THREADS, else one per CPU."
    )
    omp_num_threads: str = Field(
        "", validation_alias="OMP_NUM_THREADS", description="As OpenMP reads it: of a list, the first number counts."
    )
    device: Literal["auto", "cuda", "cpu"] = Field(
        "auto", description="Where models compute; auto: on the GPU, where there is one."
    )
    compile_cache: Path | None = Field(
        None, description="Folder that workers share compiled models in; none: torch's own."
    )
    log_level: Literal["debug", "info", "warning"] = Field(
        "info", description="Least level that is logged; debug has a line per batch, with the ids of its requests."
    )
    secret: SecretStr | None = Field(
        None, min_length=16, description="Callers must show it as a bearer token; none: anybody may call."
    )
    drain_timeout: PositiveDuration = Field("60s", description="How long a batch may still run after SIGTERM.")

    @field_validator("tiers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value

    @property
    def drain_timeout_s(self) -> float:
        """Seconds that a batch may still run after SIGTERM."""
        return parse_duration_s(self.drain_timeout)

    @property
    def thread_count(self) -> int:
        """Threads that torch computes with: as set, as OMP_NUM_THREADS says, or one per CPU that we may run on."""
        return self.threads or omp_threads(self.omp_num_threads) or cpu_count()

    @classmethod
    def read(cls) -> Self:
        """Return the settings in the environment; raise SettingsError for ones that are missing or wrong."""
        try:
            return cls()
        except ValidationError as error:
            faults = (f"HADIS_WORKER_{str(e['loc'][0]).upper()}: {_plain(e['msg'])}" for e in error.errors())
            raise SettingsError("; ".join(faults)) from None


@dataclass(frozen=True)
class Models:
    """What a worker is to load, from light to heavy, and the folder that relative paths start from."""

    tiers: tuple[Tier, ...]
    folder: Path
    discriminator: Path | None
    api_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of the endpoints of remote tiers, by tier."""

    @property
    def remote(self) -> bool:
        """Whether endpoints make the images of all tiers."""
        return all(tier.remote is not None for tier in self.tiers)


def read_models(settings: WorkerSettings) -> Models:
    """Return the tiers that the settings ask for; raise SettingsError for a bad manifest or an unknown tier."""
    try:
        # In a cluster a worker gets the profile alone, so that a change of the service restarts no worker.
        lone = [r for r in read_resources(settings.manifest) if isinstance(r, DiffusionService)] == []
        if lone:
            spec, folder = read_profile(settings.manifest).spec, settings.manifest.parent
        else:
            manifest = read_manifest(settings.manifest)
            spec, folder = manifest.profile.spec, manifest.folder
    except ManifestError as error:
        raise SettingsError("; ".join(str(error).splitlines())) from None
    folder = settings.models or folder
    known = {tier.name: tier for tier in spec.tiers}
    for name in settings.tiers:
        if name not in known:
            raise SettingsError(f"HADIS_WORKER_TIERS: no tier is named {name!r}; there are {', '.join(known)}")
    tiers = tuple(tier for tier in spec.tiers if not settings.tiers or tier.name in settings.tiers)
    remote = [tier.name for tier in tiers if tier.remote is not None]
    if remote and len(remote) < len(tiers):
        raise SettingsError(
            f"HADIS_WORKER_TIERS: {', '.join(remote)} is made by an endpoint, and needs workers of its own"
        )
    # A worker that needs no torch otherwise does without it.
    judges = not remote or not spec.judged_tiers.isdisjoint(remote)
    discriminator = folder / spec.discriminator if judges and spec.discriminator else None
    try:
        return Models(tiers, folder, discriminator, api_keys(tiers, os.environ))
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _plain(message: str) -> str:
    return "must be set" if message == "Field required" else message.removeprefix("Value error, ")
