"""Previews as parts of a batch's answer. They are drawn beside the next steps, not in the thread that computes."""

from __future__ import annotations

import asyncio

from hadis.protocol.previews import Preview as WirePreview
from hadis.protocol.previews import encode_preview
from hadis.protocol.worker import MEDIA_TYPES, WireJob

from hadis_worker.encode import encode
from hadis_worker.steps import StepPreview, Steps


async def preview_part(steps: Steps, number: int, job: WireJob) -> bytes | None:
    """Return the part of the newest preview of a batch's job with a number; None where there is none."""
    preview = steps.take_preview(job.id)
    return None if preview is None else await asyncio.to_thread(_encoded, preview, number, job)


def _encoded(preview: StepPreview, number: int, job: WireJob) -> bytes | None:
    image = preview.draw()
    if image is None:
        return None
    size, body = f"{image.width}x{image.height}", encode(image, job.format, job.compression)
    return encode_preview(MEDIA_TYPES[job.format], WirePreview(number, size, body))
