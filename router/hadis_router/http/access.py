"""Who a request is from, and whether it may come in: API keys, the service's own secret, and proxies that are trusted.

Routers, the operator and `hadis up` show a secret that only they know (the header `hadis-secret`), and are believed by
it. Of everybody else nothing is believed but an API key, and, of proxies that the spec names, X-Forwarded-For.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from hadis.api.access import Access, ClientLimits
from hadis.protocol.secret import HEADER
from starlette.requests import Request

from hadis_router.dispatch.answer import ServeError
from hadis_router.http.clients import bearer_token, client_key
from hadis_router.http.keys import ApiKey, KeyRing
from hadis_router.http.links.service import PATH as LINKS

VISITOR = "hadis.visitor"
"""In the scope of a request: who sends it."""
PRIORITY = "x-hadis-priority"
_OF_PROXIES = ("x-forwarded-for", "forwarded")
_OPEN = ("/", "/healthz", "/readyz", "/openapi.json")
"""Without a key: they tell nothing of the service's work, and probes and browsers have none."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who sends a request."""

    address: str | None
    key: ApiKey | None
    """None where the service has no keys."""
    headers: Mapping[str, str]
    forwarded: bool
    """Whether it comes by another router."""

    def client(self, user: str | None) -> str:
        """Return the key of its fair share; `user` is what a request's body says."""
        return self.key.client if self.key else client_key(self.headers, user, self.address)

    def may_see(self, client: str) -> bool:
        """Return whether what a client has under way is this visitor's business.

        Of clients with keys each is told of its own alone; the parts of the service, which have none, of all.
        """
        return self.key is None or self.key.client == client

    @property
    def batch(self) -> bool:
        """Whether its work is of the priority class `batch`; raises ServeError 400 for a class that there is not."""
        said = self.headers.get(PRIORITY, "interactive").strip().lower()
        if said not in ("interactive", "batch"):
            raise ServeError(400, "invalid_priority", f"{PRIORITY} is {said[:30]!r}; write interactive or batch")
        return said == "batch" or (self.key is not None and self.key.batch)


class AccessControl:
    """What a service's spec says of who may use it."""

    def __init__(self, spec: Access, keys: KeyRing | None = None, secret: str | None = None) -> None:
        """`keys` None: everybody may; `secret` is what the parts of the service know each other by."""
        self.spec, self.keys, self._secret = spec, keys, secret
        self._proxies = [ip_network(text) for text in spec.trusted_proxies]
        self._metrics_from = [ip_network(text) for text in spec.metrics_from]

    @property
    def has_secret(self) -> bool:
        """Whether parts of the service know each other by a secret."""
        return self._secret is not None

    def is_ours(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request (header names in lower case) shows the service's secret."""
        shown = headers.get(HEADER, "")
        return self._secret is not None and hmac.compare_digest(shown.encode(), self._secret.encode())

    def admit(self, path: str, headers: Mapping[str, str], host: str | None, forwarded: bool) -> Visitor:
        """Return who sends a request; raise ServeError 401 for one that may not come in.

        `host` is where the connection is from, `forwarded` whether that is another router.
        """
        ours, token = self.is_ours(headers), bearer_token(headers)
        address = self._address(headers, host, forwarded)
        key = self.keys.find(token) if self.keys and token else None
        if (
            self.keys is not None
            and key is None
            and not (self._is_open(path, headers, host) or (ours and not forwarded))
        ):
            raise _not_admitted(token)
        return Visitor(address, key, headers, forwarded)

    def trusts(self, host: str | None) -> bool:
        """Return whether a sender is a proxy whose headers are believed."""
        return bool(self._proxies) and _within(host, self._proxies)

    def limits_of(self, client: str) -> ClientLimits:
        """Return what a client may do."""
        key, of_all = self.keys.limits_of(client) if self.keys else None, self.spec.limits
        if key is None:
            return of_all
        return ClientLimits(
            requests_per_minute=key.requests_per_minute or of_all.requests_per_minute,
            images_in_flight=key.images_in_flight or of_all.images_in_flight,
        )

    def _is_open(self, path: str, headers: Mapping[str, str], host: str | None) -> bool:
        if path == "/metrics":
            # Through a proxy whose word is not taken, anybody may come from its address.
            known = self.trusts(host) or not any(name in headers for name in _OF_PROXIES)
            return known and _within(self._address(headers, host, forwarded=False), self._metrics_from)
        return needs_no_key(path)

    def _address(self, headers: Mapping[str, str], host: str | None, forwarded: bool) -> str | None:
        """Return the client's address: the last one of X-Forwarded-For that is of no trusted proxy."""
        said = headers.get("x-forwarded-for", "")
        if forwarded:
            return said or host
        for hop in reversed([hop.strip() for hop in said.split(",") if hop.strip()]):
            if not self.trusts(host):
                break
            host = hop
        return host


def needs_no_key(path: str) -> bool:
    """Return whether a path is open to everybody where a service has keys."""
    # Who has a link was given it by a client, and nobody guesses one.
    return path in _OPEN or path.startswith(("/page/", LINKS))


def visitor_of(request: Request) -> Visitor:
    """Return who sends a request, as the front door found."""
    visitor: Visitor = request.scope[VISITOR]
    return visitor


def _not_admitted(token: str) -> ServeError:
    message = "this API key is not known here" if token else "send an API key, as `Authorization: Bearer KEY`"
    return ServeError(401, "invalid_api_key", message)


def _within(address: str | None, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    parsed = _parsed(address or "")
    return parsed is not None and any(parsed in network for network in networks)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
