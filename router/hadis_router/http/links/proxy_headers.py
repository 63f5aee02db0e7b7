"""What proxies say of the address that a client asked for: in X-Forwarded headers, or as RFC 7239 has it.

Of several proxies the outermost one is taken, the first of each list. Whether they are believed is not decided here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_PAIR = re.compile(r'\s*([\w-]+)=("(?:[^"\\]|\\.)*"|[^\s;,"]*)\s*(;|,|$)', re.ASCII)
_WITHOUT_PORT = re.compile(r"\[[^\[\]]*\]|[^:\[\]]+")
_OF_SCHEMES = ("80", "443")
"""A port that says nothing: behind what ends TLS, proxies name the one that they listen on themselves."""


def client_url(headers: Mapping[str, str], scheme: str, host: str, prefix: str) -> str:
    """Return scheme, host and prefix as a URL; those given are what a request says itself, where no proxy does."""
    forwarded = _forwarded(headers.get("forwarded", ""))
    scheme = (_first(headers, "x-forwarded-proto") or forwarded.get("proto", scheme)).lower()
    host = _first(headers, "x-forwarded-host") or forwarded.get("host", host)
    port = _first(headers, "x-forwarded-port")
    if port.isdigit() and port not in _OF_SCHEMES and _WITHOUT_PORT.fullmatch(host):
        host = f"{host}:{port}"
    prefix = (_first(headers, "x-forwarded-prefix") or prefix).strip("/")
    return f"{scheme}://{host}/{prefix}".rstrip("/")


def _first(headers: Mapping[str, str], name: str) -> str:
    return headers.get(name, "").split(",")[0].strip()


def _forwarded(value: str) -> dict[str, str]:
    """Return the pairs of the first element of a `Forwarded` header, as far as it can be read."""
    pairs: dict[str, str] = {}
    at = 0
    while (pair := _PAIR.match(value, at)) is not None:
        name, text, end = pair.groups()
        pairs[name.lower()] = re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text
        if end != ";":
            break
        at = pair.end()
    return pairs
