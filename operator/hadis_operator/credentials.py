"""What the operator shows a Prometheus that wants credentials. They are in no message, event, log or repr of ours."""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from hadis_operator.demand_sources import DemandError

USERNAME, PASSWORD, TOKEN = "username", "password", "token"
CA, CERTIFICATE, KEY = "ca.crt", "tls.crt", "tls.key"
PARTS = (USERNAME, PASSWORD, TOKEN, CA, CERTIFICATE, KEY)
"""As the keys of Kubernetes' own kinds of Secrets are called."""


@dataclass(frozen=True)
class Credentials:
    """What a request shows, and which server it believes."""

    header: str = field(default="", repr=False)
    tls: ssl.SSLContext | bool = field(default=True, repr=False)
    """True: the usual authorities."""
    server_name: str | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request."""
        return {"authorization": self.header} if self.header else {}

    def hide(self, text: str) -> str:
        """Return a text without the secrets that a server may have sent back in it."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def make_credentials(values: Mapping[str, bytes], server_name: str | None = None) -> Credentials:
    """Return the credentials of some of `PARTS`; raise DemandError for parts that cannot be used."""
    for part, value in values.items():
        if not value.strip():
            raise DemandError("BadSecret", f"the {part} for Prometheus is empty")
    header, secrets = _header({part: value for part, value in values.items() if part in (USERNAME, PASSWORD, TOKEN)})
    shown = tuple(sorted({*secrets, header.partition(" ")[2]} - {""}, key=len, reverse=True))
    return Credentials(header, _context(values), server_name, shown)


def _header(values: Mapping[str, bytes]) -> tuple[str, tuple[str, ...]]:
    """Return the header's value, and what of it is secret."""
    try:
        text = {part: value.decode().strip() for part, value in values.items()}
        if TOKEN in text:
            text[TOKEN].encode("ascii")
    except UnicodeError:
        raise DemandError("BadSecret", f"the {' or '.join(values)} for Prometheus is no text") from None
    if TOKEN in text:
        if not text[TOKEN].isprintable() or " " in text[TOKEN]:
            raise DemandError("BadSecret", "the token for Prometheus has spaces or line breaks in it")
        return f"Bearer {text[TOKEN]}", (text[TOKEN],)
    if not text:
        return "", ()
    if text.keys() != {USERNAME, PASSWORD} or ":" in text[USERNAME]:
        raise DemandError("BadSecret", "basic auth for Prometheus needs a password, and a username without a colon")
    pair = base64.b64encode(f"{text[USERNAME]}:{text[PASSWORD]}".encode()).decode()
    return f"Basic {pair}", (text[PASSWORD],)


def _context(values: Mapping[str, bytes]) -> ssl.SSLContext | bool:
    if not {CA, CERTIFICATE, KEY} & values.keys():
        return True
    if (CERTIFICATE in values) != (KEY in values):
        raise DemandError("BadSecret", f"{CERTIFICATE} and {KEY} for Prometheus belong together")
    try:
        context = ssl.create_default_context(cadata=values[CA].decode() if CA in values else None)
        if CERTIFICATE in values:
            with _as_file(values[CERTIFICATE] + b"\n" + values[KEY]) as path:
                # Without the function, a key with a passphrase would ask for it on a terminal.
                context.load_cert_chain(path, password=lambda: b"")
    except (ssl.SSLError, ValueError):
        parts = ", ".join(part for part in (CA, CERTIFICATE, KEY) if part in values)
        raise DemandError("BadSecret", f"of {parts} for Prometheus, not all is PEM that can be used") from None
    return context


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Yield a path of a file in memory alone: Python's TLS takes a key from no other place."""
    with os.fdopen(os.memfd_create("credentials"), "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"
