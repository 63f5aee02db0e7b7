"""What router and worker say to each other: `POST /generate` and its `multipart/mixed` answer.

While the batch runs come parts that tell its progress, the first one as soon as the worker has taken it. Then comes a
JSON part, one result per job, and one part per image, already encoded, in the order of the results that have an image.
Parts carry Content-Length, so that images are found without a search through them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from hadis.api.fields import Fields

BOUNDARY = "hadis-part"
CONTENT_TYPE = f"multipart/mixed; boundary={BOUNDARY}"
_PROGRESS_TYPE = "application/vnd.hadis.progress+json"
MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
Format = Literal["png", "jpeg", "webp"]
_MOST_NAMED = 8
ErrorCode = Literal["out_of_memory", "invalid", "content_filtered", "unavailable", "failed"]


class WireJob(Fields):
    """One image to make. None means: as the tier's profile says."""

    id: str
    request_id: str | None = Field(None, max_length=128, description="The id of its request, for logs.")
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

    @property
    def requests(self) -> str:
        """The ids of its jobs' requests, as logs say them."""
        return named_requests(job.request_id for job in self.jobs)


def named_requests(ids: Iterable[str | None]) -> str:
    """Return ids of requests as logs say them: each once, and not too many."""
    known = list(dict.fromkeys(each for each in ids if each))
    more = f" and {len(known) - _MOST_NAMED} more" if len(known) > _MOST_NAMED else ""
    return f"requests {', '.join(known[:_MOST_NAMED])}{more}" if known else "requests without an id"


class JobResult(Fields):
    """What became of one job: an image (its part follows) or an error."""

    id: str
    error: str | None = None
    error_code: ErrorCode | None = None
    confidence: float | None = Field(None, ge=0, le=1)
    size: str | None = Field(None, description="Width x height of the image, in pixels.")
    truncated_tokens: int | None = Field(
        None, ge=0, description="Tokens of the prompt that no text encoder read; None: not known."
    )
    service_s: float = Field(0.0, ge=0, description="Time of the batch that the job was in.")


class Progress(Fields):
    """How many of a batch's steps are done."""

    done: int = Field(ge=0)
    steps: int = Field(ge=1)


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


def encode_progress(progress: Progress) -> bytes:
    """Return the part that tells a batch's progress; any number of them go before `encode_answer`'s."""
    return _part(_PROGRESS_TYPE, progress.model_dump_json(by_alias=True).encode())


def decode_answer(body: bytes) -> list[tuple[JobResult, bytes | None]]:
    """Return each result with its image (None beside an error); raise ValueError for a body that is cut."""
    reader = AnswerReader()
    reader.feed(body)
    return reader.results()


class AnswerReader:
    """Reads an answer as its bytes come."""

    def __init__(self) -> None:
        """Start before the first byte."""
        self._body, self._at = bytearray(), 0
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> list[Progress]:
        """Take the next bytes; return the progress that they complete. Raises ValueError or KeyError for nonsense."""
        self._body += data
        told = []
        while (part := self._next_part()) is not None:
            media_type, body = part
            if media_type == _PROGRESS_TYPE:
                told.append(Progress.model_validate_json(body))
            else:
                self._parts.append(body)
        return told

    def results(self) -> list[tuple[JobResult, bytes | None]]:
        """Return each result with its image (None beside an error); raise ValueError where the answer is cut."""
        if not self._parts or not self._body.startswith(f"--{BOUNDARY}--".encode(), self._at):
            raise ValueError("the worker's answer is cut off")
        results, images = _RESULTS.validate_json(self._parts[0]), iter(self._parts[1:])
        try:
            return [(result, None if result.error is not None else next(images)) for result in results]
        except StopIteration:
            raise ValueError("the worker's answer has fewer images than results") from None

    def _next_part(self) -> tuple[str, bytes] | None:
        """Return the media type and body of the next part, None while it is not whole."""
        start = f"--{BOUNDARY}\r\n".encode()
        head_end = self._body.find(b"\r\n\r\n", self._at)
        if head_end < 0 or not self._body.startswith(start, self._at):
            return None
        head = self._body[self._at + len(start) : head_end].decode("latin-1")
        headers = dict(line.split(": ", 1) for line in head.split("\r\n"))
        begin = head_end + 4
        end = begin + int(headers["Content-Length"])
        if len(self._body) < end + 2:
            return None
        if self._body[end : end + 2] != b"\r\n":
            raise ValueError("the worker's answer has a part that is longer than it says")
        self._at = end + 2
        return headers["Content-Type"], bytes(memoryview(self._body)[begin:end])
