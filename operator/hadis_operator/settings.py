"""The operator's settings, read once from the environment (HADIS_OPERATOR_...); the chart sets them."""

from __future__ import annotations

from typing import Literal

from hadis.api.fields import Fields
from hadis.api.prometheus import check_address
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Peer(Fields):
    """Pods that NetworkPolicies let in."""

    namespace_labels: dict[str, str] = Field({}, description="Labels of their namespace; none: every namespace.")
    pod_labels: dict[str, str] = Field({}, description="Labels of the pods; none: every pod.")


class OperatorSettings(BaseSettings):
    """What every service's children have in common."""

    model_config = SettingsConfigDict(
        env_prefix="HADIS_OPERATOR_", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    router_image: str = Field("hadis-router:latest", description="Image of the routers.")
    worker_image: str = Field("hadis-worker:latest", description="Image of the workers.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", description="When nodes pull these images."
    )
    image_pull_secrets: list[str] = Field([], description="JSON list of names of Secrets in the services' namespaces.")
    propagated_labels: list[str] = Field(
        [],
        description="JSON list of prefixes, for example kueue.x-k8s.io/: labels of a DiffusionService that begin so "
        "are those of its children and their pods too.",
    )
    allow_host_path: bool = Field(False, description="Whether pods may mount folders of their nodes.")
    prometheus_address: str = Field("", description="For services that name none; empty: the routers' own /metrics.")
    prometheus_credentials: str = Field(
        "", description="Folder with its username and password, or its token, and ca.crt, tls.crt and tls.key."
    )
    operator_pods: Peer | None = Field(
        None, description="JSON object (namespaceLabels, podLabels): the operator's own pods, let in to read."
    )
    scraper_pods: list[Peer] = Field([], description="JSON list of the same: Prometheus' pods, let in to scrape.")
    tracing_endpoint: str = Field(
        "", pattern=r"^(https?://\S+)?$", description="Collector of traces, for services that name none; empty: none."
    )
    tracing_sample_ratio: float = Field(1.0, ge=0, le=1, description="Share of the requests that are traced there.")
    metrics_port: int = Field(9100, ge=0, le=65535, description="Port of the operator's own metrics; 0: none.")
    watch_namespaces: list[str] = Field([], description="JSON list of the namespaces to watch; empty: every one.")
    release: str = Field("hadis-operator", description="Name of the Lease that operators of one release share.")
    namespace: str = Field("default", description="Namespace of the release, where its Lease is.")
    pod: str = Field("", description="Name of the operator's pod, which names it in the Lease; empty: a random one.")
    lease_s: int = Field(15, ge=3, description="Seconds without a renewal after which another operator leads.")
    resync_s: float = Field(300.0, gt=0, description="Seconds between comparisons of the caches with the API server.")
    worker_late_s: float = Field(600.0, gt=0, description="Seconds after which a worker that is not ready is late.")

    @field_validator("prometheus_address")
    @classmethod
    def _no_user(cls, address: str) -> str:
        check_address(address)
        return address
