"""Who sends a request: the key by which clients are told apart for their fair shares of the service.

Where the service has a list of API keys (`access.py`), a client is a key of that, by the name that it has there. Else
nobody checks the keys: a gateway in front of the router does, where callers are not trusted. A client's key never holds
an API key itself, only a digest of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

_NO_KEYS = ("", "none")
"""What clients write where they have no API key; the official one wants something to be there."""
_DIGITS = 16


def client_key(headers: Mapping[str, str], user: str | None, address: str | None) -> str:
    """Return the key of a request's client: by its API key, else the body's `user`, else its address.

    `headers` have names in lower case.
    """
    if token := bearer_token(headers):
        return digest(token)
    if user:
        return f"user:{user}"
    return f"address:{address or 'unknown'}"


def bearer_token(headers: Mapping[str, str]) -> str:
    """Return the API key in a request's headers; "" where there is none. Azure's clients have a header of their own."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    token = (token if scheme.lower() == "bearer" else headers.get("api-key", "")).strip()
    return "" if token in _NO_KEYS else token


def shown_key(key: str) -> str:
    """Return a client's key as it may be shown: users and addresses as digests too.

    The name of a key, which stands beside its digest in the service's file of keys, is no secret.
    """
    kind, _, name = key.partition(":")
    return key if kind in ("sha256", "key") else f"{kind}:{digest(name)}"


def digest(text: str) -> str:
    """Return the key of an API key."""
    return "sha256:" + hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:_DIGITS]
