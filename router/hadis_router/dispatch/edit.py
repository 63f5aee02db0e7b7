"""What an image is made from, and how it gets to a worker: bytes that the router passes on without decoding them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hadis.protocol.worker import EditKey, GenerateBatch, WireEdit, WireJob


@dataclass(frozen=True, slots=True)
class EditInputs:
    """The encoded images that the images of one request are made from."""

    images: tuple[bytes, ...]
    mask: bytes | None
    strength: float | None
    """None: the worker's, which differs for edits with a mask."""
    size: tuple[int, int]
    """Width and height of the first image, in pixels, as it is held."""

    @property
    def files(self) -> tuple[bytes, ...]:
        """All of them, the mask as the last."""
        return self.images if self.mask is None else (*self.images, self.mask)

    @property
    def key(self) -> EditKey:
        """What must be alike for two edits to share a batch."""
        return EditKey(self.strength, self.mask is not None, len(self.images))


def batch_of(tier: str, jobs: Sequence[tuple[WireJob, EditInputs | None]], discriminate: bool) -> GenerateBatch:
    """Return the batch of some jobs with their inputs, each of which is sent once."""
    numbers: dict[int, int] = {}
    inputs: list[bytes] = []

    def number(data: bytes) -> int:
        if id(data) not in numbers:
            numbers[id(data)] = len(inputs)
            inputs.append(data)
        return numbers[id(data)]

    def wire(job: WireJob, edit: EditInputs | None) -> WireJob:
        if edit is None:
            return job
        images, mask = tuple(map(number, edit.images)), None if edit.mask is None else number(edit.mask)
        return job.model_copy(update={"edit": WireEdit(images=images, mask=mask, strength=edit.strength)})

    wired = tuple(wire(job, edit) for job, edit in jobs)
    return GenerateBatch(tier=tier, jobs=wired, discriminate=discriminate).with_inputs(tuple(inputs))
