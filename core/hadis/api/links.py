"""Where clients reach a service's routers, and what the routers keep outside their memory."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from hadis.api.fields import Fields

PUBLIC_URL = r"^https?://[A-Za-z0-9_.:\[\]-]+(/[A-Za-z0-9_.~/-]*)?$"
SUB_PATH = r"^/[A-Za-z0-9_.~/-]*$"
_SecretName = Annotated[str, StringConstraints(min_length=1, max_length=253)]
_Host = Annotated[str, StringConstraints(pattern=r"^[^\s/]+$", max_length=253)]


class Bucket(Fields):
    """A bucket of an S3-compatible store; a lifecycle rule of it must delete what is older than links live."""

    name: str = Field(min_length=1, description="Name of the bucket.")
    endpoint: str | None = Field(None, pattern=r"^https?://\S+$", description="Default: that of AWS in the region.")
    region: str = Field("us-east-1", min_length=1, description="Region of the bucket.")
    secret: _SecretName = Field(
        description="Secret in the service's namespace, with the keys accessKeyId and secretAccessKey."
    )


class Links(Fields):
    """URLs that answers have for images (`response_format: url`)."""

    public_url: str | None = Field(
        None,
        pattern=PUBLIC_URL,
        description="URL by which clients reach the service. Default: what a trusted proxy says in X-Forwarded-Proto, "
        "-Host and -Prefix (`access.trustedProxies`), else the request's Host.",
    )
    root_path: str | None = Field(
        None, pattern=SUB_PATH, description="Sub-path of the service behind a proxy, for example /images."
    )
    bucket: Bucket | None = Field(None, description="Where images are kept; default: in the routers' memory.")


class Webhooks(Fields):
    """Whom jobs may tell that they have ended."""

    hosts: tuple[_Host, ...] = Field(
        min_length=1, max_length=32, description="Hosts, for example hooks.example.com or *.example.com."
    )
    secret: _SecretName = Field(description="Secret in the service's namespace, whose key `secret` signs: whsec_...")


class LongJobs(Fields):
    """Jobs whose clients do not wait on an open connection."""

    redis_secret: _SecretName | None = Field(
        None,
        description="Secret in the service's namespace, whose key `url` is that of a Redis or Valkey that keeps jobs. "
        "Default: the routers' memory.",
    )
    webhooks: Webhooks | None = Field(None, description="Default: none are allowed.")
