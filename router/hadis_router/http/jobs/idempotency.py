"""A client's key for a job: the same key and request are one job, whose answer may have been lost on its way."""

from __future__ import annotations

import asyncio
import hashlib
from typing import NamedTuple

from hadis_router.dispatch.answer import ServeError
from hadis_router.http.jobs.record import JobRequest


class Idempotency(NamedTuple):
    """A client's key for a job, and a digest of the request that came with it."""

    key: str
    body: str


async def idempotency_of(client: str, key: str | None, request: JobRequest) -> Idempotency | None:
    """Return a client's key as it is kept, None where it sent none; raise ServeError 400 for one that cannot be."""
    if key is None:
        return None
    if not 0 < len(key) <= 255:
        raise ServeError(400, "invalid_value", "Idempotency-Key: has not 1 to 255 characters", param="Idempotency-Key")
    digest = hashlib.sha256(f"{client}\0{key}".encode(errors="surrogateescape")).hexdigest()
    # Images take a millisecond per megabyte.
    body = await asyncio.to_thread(_digest, request) if request.edit else _digest(request)
    return Idempotency(digest, body)


def same_job(known: tuple[str, str], idempotency: Idempotency) -> str:
    """Return the id of the job that a key was used for; raise ServeError 409 where that was with another body."""
    body, job_id = known
    if body != idempotency.body:
        message = "this Idempotency-Key was used with another body; send the same body, or another key"
        raise ServeError(409, "idempotency_key_in_use", message, param="Idempotency-Key")
    return job_id


def _digest(request: JobRequest) -> str:
    """Return a digest of all that a request says, of its images too: a form's own bytes differ each time."""
    digest = hashlib.sha256(f"{request.kind} {request.model_dump_json()}".encode())
    if request.edit is not None:
        digest.update(f" {request.edit.mask is not None}".encode())
        for data in request.edit.files:
            digest.update(hashlib.sha256(data).digest())
    return digest.hexdigest()
