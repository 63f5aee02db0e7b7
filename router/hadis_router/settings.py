"""The router's settings, read once from the environment (HADIS_ROUTER_...)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from hadis.protocol.batch_request import MOST_BATCH_BYTES
from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from hadis_router.http.guarded_protocol import MOST_CONNECTIONS
from hadis_router.http.image_bodies import MOST_BYTES, MOST_HELD_BYTES
from hadis_router.http.jobs.settings import JobSettings
from hadis_router.http.links.settings import LinkSettings


class RouterSettings(JobSettings, LinkSettings, BaseSettings):
    """Where to listen, what to serve, where the plan comes from, and limits."""

    model_config = SettingsConfigDict(env_prefix="HADIS_ROUTER_", extra="ignore")

    manifest: Path = Field(description="YAML with a DiffusionService and its CascadeProfile.")
    state_file: Path | None = Field(None, description="On one machine: the run folder's file with plan and workers.")
    kubernetes: str | None = Field(
        None, pattern=r"^[^/]+/[^/]+$", description="In Kubernetes: namespace/name of the DiffusionService."
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=1, le=65535, description="Port to listen on.")
    address: str | None = Field(
        None, min_length=1, description="In Kubernetes: this pod's IP address, by which other routers reach it."
    )
    keys: Path | None = Field(
        None, description="File with the clients' API keys; default: the manifest's access.keys.file."
    )
    secret: SecretStr | None = Field(
        None,
        min_length=16,
        description="Secret that the service's processes show each other; none: they know each other by addresses.",
    )
    max_connections: int = Field(
        MOST_CONNECTIONS, ge=1, description="Most connections of clients; requests on those beyond get 503."
    )
    log_level: Literal["debug", "info", "warning"] = Field(
        "info", description="Least level that is logged; debug has a line per answer, with the request's id."
    )
    page: bool = Field(True, description="Serve the page at /.")
    max_body_bytes: int = Field(1_000_000, ge=1_000, description="Largest body of a request.")
    max_image_body_bytes: int = Field(
        MOST_BYTES, ge=1_000, description="Largest body of a request that brings images (edits, variations)."
    )
    max_image_bytes_held: int = Field(
        MOST_HELD_BYTES,
        ge=1_000,
        le=MOST_BATCH_BYTES,
        description="Bytes of such bodies that are held at one time; beyond, requests with images get 429.",
    )
    prompt_sample_file: Path | None = Field(
        None,
        description="With promptSample: file on a volume that keeps the prompts when the router ends. Default: memory.",
    )
    drain_s: float = Field(30.0, gt=0, description="Seconds that requests under way may take after SIGTERM.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.state_file is None) == (self.kubernetes is None):
            raise ValueError("set either HADIS_ROUTER_STATE_FILE or HADIS_ROUTER_KUBERNETES")
        return self
