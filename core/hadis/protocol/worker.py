"""What router and worker say to each other: `POST /generate` and its `multipart/mixed` answer.

While the batch runs come parts that tell its progress, the first one as soon as the worker has taken it, and previews
(`previews.py`). Then comes a JSON part, one result per job, and one part per image, already encoded, in the order of
the results that have an image.
How parts are framed says `parts.py`, and `batch_request.py` what a batch's body is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, PrivateAttr, TypeAdapter

from hadis.api.edits import MOST_EDIT_IMAGES, Edits
from hadis.api.fields import Fields
from hadis.protocol.parts import END, PartReader, part
from hadis.protocol.previews import Preview, decode_preview

_PROGRESS_TYPE = "application/vnd.hadis.progress+json"
MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
Format = Literal["png", "jpeg", "webp"]
_MOST_NAMED = 8
ErrorCode = Literal["out_of_memory", "invalid", "content_filtered", "unavailable", "failed"]
MOST_PIXELS = 50_000_000
"""Of one input image: decoded, it takes 4 bytes per pixel."""

LEAST_STRENGTH = 0.01


class EditKey(NamedTuple):
    """What the edits of a batch have in common."""

    strength: float | None
    masked: bool
    images: int


class WireEdit(Fields):
    """What an image is made from; images and mask are named by the number of their part, from 0."""

    images: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        min_length=1, max_length=MOST_EDIT_IMAGES, description="What it is made from."
    )
    mask: int | None = Field(None, ge=0, description="Where it is fully transparent, the first image is made anew.")
    strength: float | None = Field(None, ge=LEAST_STRENGTH, le=1, description="Share of the steps that are made.")

    @property
    def key(self) -> EditKey:
        """What must be alike for two edits to share a batch."""
        return EditKey(self.strength, self.mask is not None, len(self.images))

    @property
    def inputs(self) -> tuple[int, ...]:
        """The numbers of all its parts."""
        return self.images if self.mask is None else (*self.images, self.mask)


class WireJob(Fields):
    """One image to make. None means: as the tier's profile says."""

    id: str = Field(description="Name of the job in the answer.")
    request_id: str | None = Field(None, max_length=128, description="The id of its request, for logs.")
    prompt: str = Field(description="What to draw.")
    negative_prompt: str | None = Field(None, description="What not to draw.")
    seed: int = Field(ge=0, lt=2**63, description="Of the noise that the image begins from.")
    size: str | None = Field(None, description="Width x height of the image, in pixels.")
    steps: int | None = Field(None, ge=1, le=1000, description="Denoising steps.")
    guidance: float | None = Field(None, ge=0, le=100, description="Scale of guidance.")
    format: Format = Field("png", description="Format of the image's file.")
    compression: int = Field(90, ge=0, le=100, description="Quality of jpeg and webp.")
    edit: WireEdit | None = Field(None, description="What the image is made from, where that is not the prompt alone.")


class GenerateBatch(Fields):
    """Jobs that one tier makes in one batch: their size, steps, guidance and kind of edit are alike."""

    tier: str = Field(description="Name of the tier that makes them.")
    jobs: Annotated[tuple[WireJob, ...], Field(min_length=1, max_length=1024, description="The images to make.")]
    discriminate: bool = Field(False, description="Say how confident the discriminator is in each image.")
    _inputs: tuple[bytes, ...] = PrivateAttr(())
    _previews: tuple[int, ...] = PrivateAttr(())

    @property
    def inputs(self) -> tuple[bytes, ...]:
        """The encoded images that its jobs are made from; they are no part of its JSON."""
        return self._inputs

    def with_inputs(self, inputs: tuple[bytes, ...]) -> Self:
        """Return the batch with its inputs."""
        batch = self.model_copy()
        batch._inputs = inputs
        return batch

    @property
    def previews(self) -> Mapping[str, int]:
        """How many previews its jobs have at most, by id; they are no part of its JSON."""
        return {job.id: count for job, count in zip(self.jobs, self._previews, strict=False) if count}

    def with_previews(self, counts: tuple[int, ...]) -> Self:
        """Return the batch whose jobs have so many previews each, in their order."""
        batch = self.model_copy()
        batch._previews = counts
        return batch

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


class TierAbility(Fields):
    """What a tier can do, as its worker found out when it loaded the model; in the words of a profile's tier."""

    negative_prompts: bool
    edits: Edits
    prompt_tokens: int | None = None


class WorkerStatus(Fields):
    """`GET /status` of a worker."""

    tiers: tuple[str, ...]
    abilities: dict[str, TierAbility] = Field({}, description="By tier; empty until the models are loaded.")
    ready: bool
    busy: bool
    draining: bool = False
    device: str = "cpu"
    memory_bytes: int | None = None
    utilization: float | None = Field(None, ge=0, le=1)


_RESULTS = TypeAdapter(list[JobResult])


def encode_answer(results: Sequence[JobResult], images: Sequence[tuple[str, bytes]]) -> bytes:
    """Return the answer's body; `images` are (format, bytes), one for each result without an error, in order."""
    parts = [part("application/json", _RESULTS.dump_json(list(results), by_alias=True))]
    parts += [part(MEDIA_TYPES[name], body) for name, body in images]
    return b"".join(parts) + END


def encode_progress(progress: Progress) -> bytes:
    """Return the part that tells a batch's progress; any number of them go before `encode_answer`'s."""
    return part(_PROGRESS_TYPE, progress.model_dump_json(by_alias=True).encode())


def decode_answer(body: bytes) -> list[tuple[JobResult, bytes | None]]:
    """Return each result with its image (None beside an error); raise ValueError for a body that is cut."""
    reader = AnswerReader()
    reader.feed(body)
    return reader.results()


class AnswerReader:
    """Reads an answer as its bytes come."""

    def __init__(self) -> None:
        """Start before the first byte."""
        self._reader = PartReader()
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> list[Progress | Preview]:
        """Take the next bytes; return what they tell before the results. Raises ValueError or KeyError for nonsense."""
        updates: list[Progress | Preview] = []
        for media_type, body in self._reader.feed(data):
            if media_type == _PROGRESS_TYPE:
                updates.append(Progress.model_validate_json(body))
            elif (preview := decode_preview(media_type, body)) is not None:
                updates.append(preview)
            else:
                self._parts.append(body)
        return updates

    def results(self) -> list[tuple[JobResult, bytes | None]]:
        """Return each result with its image (None beside an error); raise ValueError where the answer is cut."""
        if not self._parts or not self._reader.ended:
            raise ValueError("the worker's answer is cut off")
        results, images = _RESULTS.validate_json(self._parts[0]), iter(self._parts[1:])
        try:
            return [(result, None if result.error is not None else next(images)) for result in results]
        except StopIteration:
            raise ValueError("the worker's answer has fewer images than results") from None
