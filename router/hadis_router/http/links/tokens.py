"""Tokens: what a link to an image holds. It cannot be guessed or changed, and tells nothing to who reads it.

which router keeps the image (4 bytes), the image's id (16), when the link ends (4), HMAC-SHA256 of these (18)
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
import struct
from dataclasses import dataclass

_LAYOUT = struct.Struct(">4s16sI")
_MAC_BYTES = 18
_TEXT = re.compile(r"[A-Za-z0-9_-]{56}")


@dataclass(frozen=True, slots=True)
class Token:
    """What is signed."""

    router: bytes
    image: bytes
    expires_at: int
    """Unix time in seconds."""


def new_id() -> bytes:
    """Return an id that nobody can guess."""
    return secrets.token_bytes(16)


def sign(key: bytes, token: Token) -> str:
    """Return a token as text, 56 characters of base64url."""
    content = _LAYOUT.pack(token.router, token.image, token.expires_at)
    return base64.urlsafe_b64encode(content + _mac(key, content)).decode()


def read(text: str) -> tuple[Token, bytes, bytes] | None:
    """Return a token, what was signed and the signature, which is not checked; None for what is no token."""
    if not _TEXT.fullmatch(text):
        return None
    raw = base64.urlsafe_b64decode(text)
    content, signature = raw[: _LAYOUT.size], raw[_LAYOUT.size :]
    return Token(*_LAYOUT.unpack(content)), content, signature


def is_signed(key: bytes, content: bytes, signature: bytes) -> bool:
    """Return whether a signature was made with the key."""
    return hmac.compare_digest(_mac(key, content), signature)


def _mac(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, "sha256")[:_MAC_BYTES]
