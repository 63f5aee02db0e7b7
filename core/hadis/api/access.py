"""Who may use a service, and how much: the part of a DiffusionService's spec that its routers' front door enforces."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from hadis.api.fields import Fields
from hadis.api.remote import SecretKey


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(f"{text!r} is no network; write it as 10.0.0.0/8 or 2001:db8::/32") from None
    return text


Network = Annotated[str, AfterValidator(_network)]
_ANYWHERE = ("0.0.0.0/0", "::/0")


class Keys(Fields):
    """Where the clients' API keys are, as SHA-256 digests."""

    secret: SecretKey | None = Field(None, description="In Kubernetes: the Secret that holds them.")
    file: str | None = Field(None, min_length=1, description="On one machine: the file, relative to the manifest.")

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.secret is None and self.file is None:
            raise ValueError("write secret (in Kubernetes) or file (on one machine)")
        return self


class ClientLimits(Fields):
    """What one client may do; none: as much as its fair share is."""

    requests_per_minute: int | None = Field(None, ge=1, description="Requests for images per minute.")
    images_in_flight: int | None = Field(None, ge=1, description="Images that wait or are made at one time.")


class Access(Fields):
    """Who may use the service."""

    keys: Keys | None = Field(
        None,
        description="API keys of those who may; default: everybody. One line each: sha256:DIGEST, the 64 hex digits "
        "that `printf %s APIKEY | sha256sum` prints, and after it, as you like, name=, weight=, requests-per-minute=, "
        "images-in-flight= and priority=.",
    )
    limits: ClientLimits = Field(default_factory=ClientLimits, description="Of every client whose key says no other.")
    trusted_proxies: tuple[Network, ...] = Field(
        (),
        max_length=64,
        description="Networks of proxies whose X-Forwarded-For, -Proto, -Host, -Prefix are believed.",
    )
    metrics_from: tuple[Network, ...] = Field(
        _ANYWHERE, max_length=64, description="Networks from which /metrics needs no key, where there are keys."
    )
