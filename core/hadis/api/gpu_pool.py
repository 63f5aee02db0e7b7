"""GpuPool: one GPU budget that several services of a namespace share. They name it in `gpus.pool`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hadis.api.fields import Fields
from hadis.api.metadata import Metadata


class GpuPoolSpec(Fields):
    """What is shared."""

    gpus: int = Field(ge=0, description="GPUs that all services of the pool may have together.")


class PoolMemberStatus(Fields):
    """GPUs of one service of a pool."""

    desired: int = Field(description="GPUs that its plan asks for.")
    share: int = Field(description="GPUs that are fair now: by weight, and what others do not need.")
    taken: int = Field(description="GPUs that it holds or may be about to take.")


class GpuPoolStatus(Fields):
    """How a pool is used."""

    taken: int = Field(0, description="GPUs that services hold or may be about to take.")
    services: dict[str, PoolMemberStatus] = Field({}, description="By service.")


class GpuPool(Fields):
    """One GPU budget that several services share: by weight where they compete, else by need."""

    api_version: Literal["hadis.dev/v1alpha1"]
    kind: Literal["GpuPool"]
    metadata: Metadata
    spec: GpuPoolSpec
