"""Previews between router and worker: how many each job has, and the parts of the answer that they come in.

A header requests them, which an older worker passes over: it would refuse a field that it does not know.
Whoever gives none answers without.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hadis.protocol.parts import part

HEADER = "x-hadis-previews"
MOST_PREVIEWS = 3
_TYPE = re.compile(r"image/[a-z]+; job=([0-9]{1,9}); size=([0-9]{1,9}x[0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class Preview:
    """What a job's image looks like after some of its steps: an encoded image of the final size."""

    job: int
    """The number of the job in its batch, from 0."""
    size: str
    """Width x height, in pixels."""
    image: bytes


def preview_headers(counts: Sequence[int]) -> dict[str, str]:
    """Return the header that says how many previews each job of a batch has at most; none where all have none."""
    return {HEADER: ",".join(map(str, counts))} if any(counts) else {}


def read_counts(header: str | None, jobs: int) -> tuple[int, ...]:
    """Return how many previews each of a batch's jobs has; raise ValueError for another number of them, or too many."""
    if header is None:
        return (0,) * jobs
    counts = header.split(",")
    if len(counts) != jobs or not all(count.isdecimal() and int(count) <= MOST_PREVIEWS for count in counts):
        raise ValueError(f"{HEADER}: write a number from 0 to {MOST_PREVIEWS} for each of the {jobs} jobs, as 0,2,1")
    return tuple(map(int, counts))


def encode_preview(media_type: str, preview: Preview) -> bytes:
    """Return the part that a preview is; any number of them go before the answer's results."""
    return part(f"{media_type}; job={preview.job}; size={preview.size}", preview.image)


def decode_preview(content_type: str, body: bytes) -> Preview | None:
    """Return the preview that a part is; None where it is another part."""
    match = _TYPE.fullmatch(content_type)
    return Preview(int(match[1]), match[2], body) if match else None
