"""Who may use a service, and how much: the part of a DiffusionService's spec that its routers' front door enforces."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import Field

from hadis.api.fields import Fields
from hadis.api.remote import SecretKey
from hadis.api.rules import Rule


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


# CEL knows networks since Kubernetes 1.31 alone: there the letters are checked, and here what they mean.
Network = Annotated[
    str,
    Field(max_length=64),
    Rule(
        "self.matches('^[0-9a-fA-F.:]+(/[0-9]{1,3})?$')",
        _is_network,
        "write a network, as 10.0.0.0/8 or 2001:db8::/32, whose address has only zeros after the prefix",
    ),
]
_PRIVATE = (
    *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
    *("fc00::/7", "fe80::/10", "::1/128"),
)
"""Those of clusters' pods, and of one machine."""


class Keys(Fields):
    """Where the clients' API keys are, as SHA-256 digests."""

    rules = (
        Rule(
            "has(self.secret) || has(self.file)",
            lambda keys: keys.secret is not None or keys.file is not None,
            "write secret (in Kubernetes) or file (on one machine)",
        ),
    )
    secret: SecretKey | None = Field(None, description="In Kubernetes: the Secret that holds them.")
    file: str | None = Field(None, min_length=1, description="On one machine: the file, relative to the manifest.")


class ClientLimits(Fields):
    """What one client may do; none: as much as its fair share is."""

    requests_per_minute: int | None = Field(None, ge=1, description="Requests for images per minute.")
    images_in_flight: int | None = Field(None, ge=1, description="Images that wait or are made at one time.")


class Access(Fields):
    """Who may use the service."""

    keys: Keys | None = Field(
        None,
        description="API keys of those who may; default: everybody. One line each: sha256:DIGEST, the 64 hex digits "
        "that `printf %s APIKEY | sha256sum` prints, then, each optional, name=, weight=, requests-per-minute=, "
        "images-in-flight=, priority= and prompts=read.",
    )
    limits: ClientLimits = Field(
        default_factory=ClientLimits, description="Limits of clients whose key sets no others."
    )
    trusted_proxies: tuple[Network, ...] = Field(
        (),
        max_length=64,
        description="Networks of proxies whose X-Forwarded-For, -Proto, -Host, -Port, -Prefix are believed, and what "
        "Forwarded says of proto and host.",
    )
    metrics_from: tuple[Network, ...] = Field(
        _PRIVATE,
        max_length=64,
        description="Networks from which /metrics needs no key, where there are keys, but not through a proxy that is "
        "not trusted. Default: private ones.",
    )
