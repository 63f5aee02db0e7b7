"""Where a service's demand is read from, and what Prometheus wants to see first: credentials, all in Secrets."""

from __future__ import annotations

import re

from pydantic import Field

from hadis.api.fields import Fields
from hadis.api.remote import SecretKey
from hadis.api.rules import Rule

ADDRESS = r"^https?://[^\s/?#]+(/[^\s?#]*)?$"
_WITH_USER = "^https?://[^/]*@"
"""An address that says a user, and a password most likely; it would stand wherever the address does."""
NO_USER = "write no user and no password into an address; write basicAuth, whose values are in a Secret"


def check_address(address: str) -> None:
    """Raise ValueError for an address with a user; the message does not repeat it."""
    if re.match(_WITH_USER, address):
        raise ValueError(NO_USER)


class BasicAuth(Fields):
    """A user and a password."""

    username: SecretKey = Field(description="Where the user's name is.")
    password: SecretKey = Field(description="Where the password is.")


class ClientTls(Fields):
    """Which server is believed, and what it is shown."""

    rules = (
        Rule(
            "has(self.certificate) == has(self.key)",
            lambda tls: (tls.certificate is None) == (tls.key is None),
            "certificate and key belong together; write both or none",
        ),
    )
    ca: SecretKey | None = Field(
        None, description="Where the certificates (PEM) of the trusted authorities are; default: the usual ones."
    )
    certificate: SecretKey | None = Field(None, description="Where the client's certificate (PEM) is.")
    key: SecretKey | None = Field(None, description="Where the key (PEM, no passphrase) of that certificate is.")
    server_name: str | None = Field(
        None, min_length=1, max_length=253, description="Name in the server's certificate; default: the address's."
    )


class Prometheus(Fields):
    """A Prometheus that scrapes the routers. Secrets are in the service's namespace."""

    rules = (
        Rule(
            f"!self.address.matches('{_WITH_USER}')",
            lambda prometheus: not re.match(_WITH_USER, prometheus.address),
            f"address: {NO_USER}",
        ),
        Rule(
            "!(has(self.basicAuth) && has(self.bearerToken))",
            lambda prometheus: prometheus.basic_auth is None or prometheus.bearer_token is None,
            "write basicAuth or bearerToken, not both",
        ),
    )
    address: str = Field(
        pattern=ADDRESS, max_length=2048, description="For example http://prometheus.monitoring:9090; no password."
    )
    query: str | None = Field(
        None,
        min_length=1,
        description="Counters of arrivals, one series per router and image size (label `size`; without it the "
        "first size is planned with); default: hadis_router_arrivals_total of the service.",
    )
    basic_auth: BasicAuth | None = Field(None, description="User name and password.")
    bearer_token: SecretKey | None = Field(None, description="Where the bearer token is.")
    tls: ClientTls | None = Field(None, description="For https: an authority of your own, a client's certificate.")


class MetricsSource(Fields):
    """Where the demand is read from."""

    prometheus: Prometheus | None = Field(None, description="Default: the routers' own /metrics.")
