"""Settings of long jobs."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, Field, SecretStr, model_validator

from hadis_router.http.jobs.signature import secret_bytes
from hadis_router.http.links.settings import Listed


class JobSettings(BaseModel):
    """How many jobs are kept, for how long, and whom webhooks may tell."""

    job_count: int = Field(1000, ge=1, description="Most jobs that are kept, ended ones included.")
    job_bytes: int = Field(
        64 * 2**20, ge=1, description="Most bytes of jobs' results that are kept in memory; the oldest go first."
    )
    job_input_bytes: int = Field(
        256 * 2**20,
        ge=0,
        description="Most bytes of input images of jobs that have not ended, in Redis; more are refused. In memory "
        "HADIS_ROUTER_MAX_IMAGE_BYTES_HELD bounds them.",
    )
    job_expires_s: float = Field(3600.0, ge=60, le=604_800, description="Seconds from its creation that a job is kept.")
    webhook_hosts: Listed = Field(
        (),
        description="Hosts that webhooks may go to, with commas between: hooks.example.com, *.example.com, or with a "
        "port, which is else the scheme's own. Default: none, and webhooks are refused.",
    )
    webhook_secret: SecretStr | None = Field(
        None, description="Signs webhooks as Standard Webhooks says: whsec_ and 24 to 64 bytes in base64."
    )

    redis_url: SecretStr | None = Field(
        None,
        description="Redis or Valkey that keeps jobs, so that they outlive their router, for example "
        "rediss://:PASSWORD@host:6379/0. Default: memory.",
    )
    redis_prefix: str = Field("hadis", min_length=1, description="Begins the keys there; one for each service.")

    @model_validator(mode="after")
    def _can_sign(self) -> Self:
        if self.webhook_secret is not None:
            secret_bytes(self.webhook_secret.get_secret_value())
        elif self.webhook_hosts:
            raise ValueError("HADIS_ROUTER_WEBHOOK_HOSTS needs HADIS_ROUTER_WEBHOOK_SECRET to sign with")
        return self
