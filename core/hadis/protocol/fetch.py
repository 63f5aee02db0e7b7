"""What a container that fetches models says of its progress, to the operator."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

FETCH = "fetch"
"""Name of the container, word of its command, and path at which it answers on the worker's port."""


class FetchProgress(BaseModel):
    """How far it is. Where several fetch to one claim, each counts what all of them have fetched."""

    model_config = ConfigDict(frozen=True)

    files: int = Field(0, ge=0, description="Files that are there.")
    bytes: int = Field(0, ge=0, description="Bytes that are there, also of files that are not whole yet.")
