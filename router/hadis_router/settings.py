"""The router's settings, read once from the environment (HADIS_ROUTER_...)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Where to listen, what to serve, and the bounds."""

    model_config = SettingsConfigDict(env_prefix="HADIS_ROUTER_", extra="ignore")

    manifest: Path = Field(description="YAML with a DiffusionService and its CascadeProfile.")
    state_file: Path = Field(description="The run folder's file with the plan and the workers.")
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=1, le=65535)
    max_body_bytes: int = Field(1_000_000, ge=1_000)
    drain_s: float = Field(30.0, gt=0, description="How long requests under way may take after SIGTERM.")
