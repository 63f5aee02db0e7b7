"""Parts of `multipart/mixed` bodies between router and worker: each says its length, so that no end is searched for."""

from __future__ import annotations

_BOUNDARY = "hadis-part"
CONTENT_TYPE = f"multipart/mixed; boundary={_BOUNDARY}"
_START, END = f"--{_BOUNDARY}\r\n".encode(), f"--{_BOUNDARY}--\r\n".encode()


def part_head(media_type: str, length: int) -> bytes:
    """Return what goes before a part's body of `length` bytes; PART_END goes behind it."""
    return _START + f"Content-Type: {media_type}\r\nContent-Length: {length}\r\n\r\n".encode()


PART_END = b"\r\n"


def part(media_type: str, body: bytes) -> bytes:
    """Return a whole part."""
    return part_head(media_type, len(body)) + body + PART_END


class PartReader:
    """Reads parts as their bytes come, and keeps none that it has told."""

    def __init__(self) -> None:
        """Start before the first byte."""
        self._body = bytearray()

    @property
    def ended(self) -> bool:
        """Whether the end was read."""
        return self._body.startswith(END.rstrip())

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        """Return type and body of each part that these bytes complete; raise ValueError or KeyError for nonsense."""
        self._body += data
        parts = []
        while (one := self._next()) is not None:
            parts.append(one)
        return parts

    def _next(self) -> tuple[str, bytes] | None:
        head_end = self._body.find(b"\r\n\r\n")
        if head_end < 0 or not self._body.startswith(_START):
            return None
        head = self._body[len(_START) : head_end].decode("latin-1")
        headers = dict(line.split(": ", 1) for line in head.split("\r\n"))
        begin, length = head_end + 4, int(headers["Content-Length"])
        end = begin + length
        if length < 0 or len(self._body) < end + len(PART_END):
            return None
        if self._body[end : end + len(PART_END)] != PART_END:
            raise ValueError("a part is longer than it says")
        body = bytes(memoryview(self._body)[begin:end])
        del self._body[: end + len(PART_END)]
        return headers["Content-Type"], body
