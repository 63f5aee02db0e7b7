"""Signatures of webhooks, as the Standard Webhooks specification says (symmetric, v1)."""

from __future__ import annotations

import base64
import hmac

_PREFIX = "whsec_"


def secret_bytes(secret: str) -> bytes:
    """Return the key in a secret; raise ValueError for one that is none."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(_PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError(
            "the secret of webhooks is not whsec_ and 24 to 64 bytes in base64; "
            'make one with: echo "whsec_$(openssl rand -base64 32)"'
        )
    return key


def signed_headers(key: bytes, message_id: str, sent_at: int, content: bytes) -> dict[str, str]:
    """Return the headers of a message that is sent at a Unix time (seconds)."""
    signature = hmac.digest(key, f"{message_id}.{sent_at}.".encode() + content, "sha256")
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(sent_at),
        "webhook-signature": "v1," + base64.b64encode(signature).decode(),
    }
