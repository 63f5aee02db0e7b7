"""The clients' API keys: read from a file of digests, and again whenever that changes.

A line is `sha256:DIGEST [name=NAME] [weight=2] [requests-per-minute=60] [images-in-flight=4] [priority=batch]
[prompts=read]`, where `printf %s APIKEY | sha256sum` prints the digest. Neither keys nor digests are logged, and the
error of a line says its number alone. A digest of a random key needs no salt and no slow hash: there is nothing to
guess.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
MOST_KEYS = 10_000
_EVERY_S = 2.0
_PREFIX = 16
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,63}")


@dataclass(frozen=True)
class ApiKey:
    """What a line says of a key; None: as the service's spec says."""

    client: str
    """By which its fair share is known."""
    weight: float = 1.0
    requests_per_minute: int | None = None
    images_in_flight: int | None = None
    batch: bool = False
    """Whether its work is of the priority class `batch`."""
    reads_prompts: bool = False
    """Whether it may read the prompts that the service keeps."""


class KeyFileError(ValueError):
    """A file of keys that cannot be used; one line that says where and why, without any key."""


def read_keys(path: Path) -> dict[str, ApiKey]:
    """Return the keys of a file by digest; raise KeyFileError."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is no UTF-8 text"
        raise KeyFileError(f"{path}: {reason}") from None
    keys: dict[str, ApiKey] = {}
    for number, line in enumerate(lines, 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        try:
            digest, key = _read_line(words)
        except ValueError as error:
            raise KeyFileError(f"{path}, line {number}: {error}") from None
        keys[digest] = key
    if len(keys) > MOST_KEYS:
        raise KeyFileError(f"{path}: has {len(keys)} keys; at most {MOST_KEYS} are read")
    return keys


def _read_line(words: list[str]) -> tuple[str, ApiKey]:
    digest = _DIGEST.fullmatch(words[0])
    if digest is None:
        raise ValueError("must begin with sha256: and 64 hex digits, as `printf %s APIKEY | sha256sum` prints them")
    fields: dict[str, Any] = {"client": words[0][: len("sha256:") + _PREFIX]}
    for word in words[1:]:
        name, _, value = word.partition("=")
        if name == "name" and _NAME.fullmatch(value):
            fields["client"] = f"key:{value}"
        elif name == "weight" and re.fullmatch(r"\d{1,6}(\.\d{1,6})?", value) and float(value) > 0:
            fields["weight"] = float(value)
        elif name in ("requests-per-minute", "images-in-flight") and re.fullmatch(r"[1-9]\d{0,8}", value):
            fields[name.replace("-", "_")] = int(value)
        elif name == "priority" and value in ("interactive", "batch"):
            fields["batch"] = value == "batch"
        elif (name, value) == ("prompts", "read"):
            fields["reads_prompts"] = True
        else:
            raise ValueError(
                f"{name[:30]!r} is none of name=NAME, weight=NUMBER, requests-per-minute=NUMBER, "
                "images-in-flight=NUMBER, priority=interactive or batch, prompts=read, or its value is wrong"
            )
    return digest[1], ApiKey(**fields)


class KeyRing:
    """The keys of a file, as it is now."""

    def __init__(self, path: Path) -> None:
        """Read the file; raise KeyFileError where that cannot be done: a service with keys does not open without."""
        self._path, self._seen = path, _stamp(path)
        self.weights: dict[str, float] = {}
        """By client; always the same object."""
        self._take(read_keys(path))

    def find(self, token: str) -> ApiKey | None:
        """Return what is known of an API key, None for one that is not ours."""
        digest = hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()
        # Found by a part of the digest, and compared in constant time: how long it takes tells nothing of a key.
        known = self._by_prefix.get(digest[:_PREFIX])
        return self._keys[known] if known and hmac.compare_digest(known, digest) else None

    async def follow(self) -> None:
        """Read the file anew when it has changed, for ever; a file that cannot be used changes nothing."""
        while True:
            await asyncio.sleep(_EVERY_S)
            self.refresh()

    def refresh(self) -> None:
        """Read the file anew if it has changed."""
        stamp = _stamp(self._path)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._take(read_keys(self._path))
        except KeyFileError as error:
            log.error("the keys stay as they were: %s", error)
            return
        log.info("%d keys read", len(self._keys))

    def limits_of(self, client: str) -> ApiKey | None:
        """Return what is known of a client."""
        return self._by_client.get(client)

    def _take(self, keys: dict[str, ApiKey]) -> None:
        self._keys, self._by_prefix = keys, {digest[:_PREFIX]: digest for digest in keys}
        self._by_client = {key.client: key for key in keys.values()}
        self.weights.clear()
        self.weights.update({key.client: key.weight for key in keys.values()})


def _stamp(path: Path) -> object:
    """Return what changes with a file: a Secret's is another file behind the same name."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
