"""The secret by which the parts of one service know each other.

The operator makes it once per service, `hadis up` once per run. Workers get it as a bearer token; routers, who see
their clients' tokens there, in a header of its own.
"""

from __future__ import annotations

import secrets

HEADER = "hadis-secret"
PATTERN = r"^[\x21-\x7e]{16,}$"
"""At least 16 characters that an HTTP header can hold."""


def make_secret() -> str:
    """Return a new secret."""
    return secrets.token_urlsafe(32)


def as_bearer(secret: str | None) -> dict[str, str]:
    """Return the headers of a call to a worker."""
    return {"authorization": f"Bearer {secret}"} if secret else {}


def as_header(secret: str | None) -> dict[str, str]:
    """Return the headers of a call to a router."""
    return {HEADER: secret} if secret else {}
