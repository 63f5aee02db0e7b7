"""What router and worker say to each other: `POST /generate` and its `multipart/mixed` answer.

The first part is JSON, one result per job; then comes one part per image, already encoded, in the order of the
results that have an image. Parts carry Content-Length, so that images are found without a search through them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from hadis.api.fields import Fields

BOUNDARY = "hadis-part"
CONTENT_TYPE = f"multipart/mixed; boundary={BOUNDARY}"
MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
Format = Literal["png", "jpeg", "webp"]
ErrorCode = Literal["out_of_memory", "invalid", "content_filtered", "failed"]


class WireJob(Fields):
    """One image to make. None means: as the tier's profile says."""

    id: str
    prompt: str
    negative_prompt: str | None = None
    seed: int = Field(ge=0, lt=2**63)
    size: str | None = None
    steps: int | None = Field(None, ge=1, le=1000)
    guidance: float | None = Field(None, ge=0, le=100)
    format: Format = "png"
    compression: int = Field(90, ge=0, le=100)


class GenerateBatch(Fields):
    """Jobs that one tier makes in one batch: their size, steps and guidance are alike."""

    tier: str
    jobs: Annotated[tuple[WireJob, ...], Field(min_length=1, max_length=1024)]
    discriminate: bool = False


class JobResult(Fields):
    """What became of one job: an image (its part follows) or an error."""

    id: str
    error: str | None = None
    error_code: ErrorCode | None = None
    confidence: float | None = Field(None, ge=0, le=1)
    size: str | None = Field(None, description="Width x height of the image, in pixels.")
    service_s: float = Field(0.0, ge=0, description="Time of the batch that the job was in.")


class WorkerStatus(Fields):
    """`GET /status` of a worker."""

    tiers: tuple[str, ...]
    ready: bool
    busy: bool
    draining: bool = False
    device: str = "cpu"
    memory_bytes: int | None = None
    utilization: float | None = Field(None, ge=0, le=1)


_RESULTS = TypeAdapter(list[JobResult])


def _part(media_type: str, body: bytes) -> bytes:
    return (
        f"--{BOUNDARY}\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body + b"\r\n"
    )


def encode_answer(results: Sequence[JobResult], images: Sequence[tuple[str, bytes]]) -> bytes:
    """Return the answer's body; `images` are (format, bytes), one for each result without an error, in order."""
    parts = [_part("application/json", _RESULTS.dump_json(list(results), by_alias=True))]
    parts += [_part(MEDIA_TYPES[name], body) for name, body in images]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def _content_length(head: bytes) -> int:
    headers = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n"))
    return int(headers["Content-Length"])


def decode_answer(body: bytes) -> list[tuple[JobResult, bytes | None]]:
    """Return each result with its image (None beside an error); raise ValueError for a body that is cut."""
    parts, at, start = [], 0, f"--{BOUNDARY}\r\n".encode()
    while body.startswith(start, at):
        head_end = body.find(b"\r\n\r\n", at)
        if head_end < 0:
            raise ValueError("the worker's answer is cut off in a part's header")
        end = head_end + 4 + _content_length(body[at + len(start) : head_end])
        if body[end : end + 2] != b"\r\n":
            raise ValueError("the worker's answer is cut off in an image")
        parts.append(body[head_end + 4 : end])
        at = end + 2
    if not parts or not body.startswith(f"--{BOUNDARY}--".encode(), at):
        raise ValueError("the worker's answer does not end as it should")
    results, images = _RESULTS.validate_json(parts[0]), iter(parts[1:])
    try:
        return [(result, None if result.error is not None else next(images)) for result in results]
    except StopIteration:
        raise ValueError("the worker's answer has fewer images than results") from None
