"""The operator's settings, read once from the environment (HADIS_OPERATOR_...); the chart sets them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class OperatorSettings(BaseSettings):
    """What every service's children have in common."""

    model_config = SettingsConfigDict(env_prefix="HADIS_OPERATOR_", extra="ignore", frozen=True)

    router_image: str = "hadis-router:latest"
    worker_image: str = "hadis-worker:latest"
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: list[str] = Field([], description="JSON list of names of Secrets in the services' namespaces.")
    prometheus_address: str = Field("", description="For services that name none; empty: the routers' own /metrics.")
    tracing_endpoint: str = Field(
        "", pattern=r"^(https?://\S+)?$", description="Collector of traces, for services that name none; empty: none."
    )
    tracing_sample_ratio: float = Field(1.0, ge=0, le=1, description="Share of the requests that are traced there.")
    metrics_port: int = Field(9100, ge=0, le=65535, description="Port of the operator's own metrics; 0: none.")
    resync_s: float = Field(300.0, gt=0, description="How often the caches are compared with the API server.")
    worker_late_s: float = Field(600.0, gt=0, description="Time after which a worker that is not ready is called late.")
