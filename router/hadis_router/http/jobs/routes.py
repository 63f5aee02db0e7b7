"""`/v1/hadis/jobs`: create, follow and cancel long jobs, at whichever router is asked."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from hadis_router.dispatch import refusals
from hadis_router.dispatch.answer import ServeError
from hadis_router.http.access import visitor_of
from hadis_router.http.api import ERRORS, gateway_of
from hadis_router.http.described_answers import JOB, errors
from hadis_router.http.edit_request import IMAGE_FIELDS, edit_of, read_edit
from hadis_router.http.edits import NEITHER, Held, body_of, edit_content
from hadis_router.http.forwarding import age_s, ask_owner, forward
from hadis_router.http.jobs.accepting import accept
from hadis_router.http.jobs.record import PATH, EditJobRequest, JobRecord, JobRequest, tag_in
from hadis_router.http.jobs.service import Jobs
from hadis_router.http.request_body import FORM, JSON, check_content_type, media_type_of, read_fields, validated

router = APIRouter()
_EDIT = edit_content(EditJobRequest)
_SCHEMA = body_of(_EDIT | {JSON: {"schema": {"anyOf": [JobRequest.model_json_schema(), _EDIT[JSON]["schema"]]}}})
_GONE: dict[int | str, dict[str, Any]] = {
    404: {"description": "No such job, or it has expired"},
    503: {"description": "The store, or the router that has the job, does not answer"},
}


@router.post(
    PATH,
    status_code=202,
    openapi_extra=_SCHEMA,
    responses=JOB | errors({**ERRORS, **NEITHER}),
)
async def create(request: Request, body: Held) -> Response:
    """Make images later, from a prompt or, where there are images, from these: the answer is the job."""
    gateway = gateway_of(request)
    if gateway.draining:
        raise refusals.stopping()
    arrived = asyncio.get_running_loop().time() - age_s(request)
    content_type = request.headers.get("content-type", "")
    is_form = media_type_of(content_type) == FORM
    with gateway.reading:
        if not is_form:
            check_content_type(content_type)
        content = await body.read(request)
    if (answer := await forward(gateway, request, content, arrived)) is not None:
        return answer
    read = partial(_read, content_type, content, gateway.max_body_bytes, gateway.strict)
    with gateway.reading:
        large = is_form or len(content) > gateway.max_body_bytes
        job = await asyncio.to_thread(read) if large else read()
    return await accept(request, job, arrived, body)


def _read(content_type: str, content: bytes, most_bytes: int, strict: bool) -> JobRequest:
    """Return the job that a body is for, an edit where it has images; raise ServeError 400, 413 without images."""
    if media_type_of(content_type) == FORM:
        return read_edit(EditJobRequest, content_type, content, strict)
    fields = read_fields(content)
    if any(name in fields for name in IMAGE_FIELDS):
        return edit_of(EditJobRequest, fields, strict)
    if len(content) > most_bytes:
        raise ServeError(413, "body_too_large", f"a body without images is larger than {most_bytes} bytes")
    return validated(JobRequest, fields, strict)


@router.head(PATH + "/{job_id}", include_in_schema=False)
@router.get(PATH + "/{job_id}", responses=errors(_GONE))
async def get(request: Request, job_id: str) -> Response:
    """Say how far a job is; its result is the images body, once it has succeeded."""
    jobs: Jobs = request.app.state.jobs
    if (elsewhere := await ask_owner(gateway_of(request), request, tag_in(job_id))) is not None:
        return elsewhere
    return await _answer(jobs, await jobs.get(job_id, visitor_of(request)))


@router.delete(PATH + "/{job_id}", responses=errors(_GONE))
async def cancel(request: Request, job_id: str) -> Response:
    """Cancel a job; one that has ended stays as it is."""
    jobs: Jobs = request.app.state.jobs
    if (elsewhere := await ask_owner(gateway_of(request), request, tag_in(job_id))) is not None:
        return elsewhere
    return await _answer(jobs, await jobs.cancel(job_id, visitor_of(request)))


async def _answer(jobs: Jobs, record: JobRecord) -> Response:
    content = record.body(await jobs.result(record))
    return Response(content, headers={"cache-control": "no-store"}, media_type="application/json")
