"""Where a service's demand is read from, and what Prometheus wants to see first: credentials, all in Secrets."""

from __future__ import annotations

import re
from typing import Self

from pydantic import Field, model_validator

from hadis.api.fields import Fields
from hadis.api.remote import SecretKey

ADDRESS = r"^https?://[^\s/?#]+(/[^\s?#]*)?$"
WITH_USER = "^https?://[^/]*@"
"""An address that says a user, and a password most likely; it would stand wherever the address does."""
NO_USER = "write no user and no password into an address; write basicAuth, whose values are in a Secret"
ONE_WAY = "write basicAuth or bearerToken, not both"
BOTH_PARTS = "certificate and key belong together; write both or none"


def check_address(address: str) -> None:
    """Raise ValueError for an address with a user; the message does not repeat it."""
    if re.match(WITH_USER, address):
        raise ValueError(NO_USER)


class BasicAuth(Fields):
    """A user and a password."""

    username: SecretKey = Field(description="Where the user's name is.")
    password: SecretKey = Field(description="Where the password is.")


class ClientTls(Fields):
    """Which server is believed, and what it is shown."""

    ca: SecretKey | None = Field(
        None, description="Where the certificates (PEM) of the authorities are that are believed; default: the usual."
    )
    certificate: SecretKey | None = Field(None, description="Where the client's certificate (PEM) is.")
    key: SecretKey | None = Field(None, description="Where the key (PEM, no passphrase) of that certificate is.")
    server_name: str | None = Field(
        None, min_length=1, max_length=253, description="Name in the server's certificate; default: the address's."
    )

    @model_validator(mode="after")
    def _both(self) -> Self:
        # The API server checks the same: see RULES in hadis.api.crd.
        if (self.certificate is None) != (self.key is None):
            raise ValueError(BOTH_PARTS)
        return self


class Prometheus(Fields):
    """A Prometheus that scrapes the routers. Secrets are in the service's namespace."""

    address: str = Field(
        pattern=ADDRESS, max_length=2048, description="For example http://prometheus.monitoring:9090; no password."
    )
    query: str | None = Field(
        None,
        min_length=1,
        description="Counters of arrivals, one series per router and image size (label `size`; without it the "
        "first size is planned with); default: hadis_router_arrivals_total of the service.",
    )
    basic_auth: BasicAuth | None = Field(None, description="A user and a password to show.")
    bearer_token: SecretKey | None = Field(None, description="Where the bearer token to show is.")
    tls: ClientTls | None = Field(None, description="For https: an authority of your own, a client's certificate.")

    @model_validator(mode="after")
    def _access(self) -> Self:
        # The API server checks the same: see RULES in hadis.api.crd.
        check_address(self.address)
        if self.basic_auth and self.bearer_token:
            raise ValueError(ONE_WAY)
        return self


class MetricsSource(Fields):
    """Where the demand is read from."""

    prometheus: Prometheus | None = Field(None, description="Default: the routers' own /metrics.")
