"""Times as Kubernetes writes them (RFC 3339)."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(at_s: float) -> str:
    """Return a Unix time in seconds as text, to the second, for example 2026-01-31T12:00:00Z."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def unix_s(text: str) -> float:
    """Return the Unix time in seconds that a text says; raise ValueError for another form."""
    return datetime.fromisoformat(text).timestamp()
