"""`/v1/hadis/jobs`: create, follow and cancel long jobs, at whichever router is asked."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from hadis_router.dispatch import refusals
from hadis_router.http.api import ERRORS, gateway_of, read_body
from hadis_router.http.described_answers import JOB, errors
from hadis_router.http.forwarding import age_s, ask_keeper, forward
from hadis_router.http.jobs.accepting import accept
from hadis_router.http.jobs.record import PATH, JobRecord, JobRequest, tag_in
from hadis_router.http.jobs.service import Jobs

router = APIRouter()
_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": JobRequest.model_json_schema()}},
    }
}
_GONE: dict[int | str, dict[str, Any]] = {
    404: {"description": "No such job, or not any more"},
    503: {"description": "The store, or the router that has the job, does not answer"},
}


@router.post(
    PATH,
    status_code=202,
    openapi_extra=_SCHEMA,
    responses=JOB | errors({**ERRORS, 409: {"description": "The Idempotency-Key was used with another body"}}),
)
async def create(request: Request) -> Response:
    """Make images later: admission is as for any request, the answer is the job."""
    gateway = gateway_of(request)
    if gateway.draining:
        raise refusals.stopping()
    arrived = asyncio.get_running_loop().time() - age_s(request)
    with gateway.reading:
        content = await read_body(request, gateway.max_body_bytes)
    return await forward(gateway, request, content, arrived) or await accept(request, content, arrived)


@router.get(PATH + "/{job_id}", responses=errors(_GONE))
async def get(request: Request, job_id: str) -> Response:
    """Say how far a job is; its result is the images body, once it has succeeded."""
    jobs: Jobs = request.app.state.jobs
    if (elsewhere := await ask_keeper(gateway_of(request), request, tag_in(job_id))) is not None:
        return elsewhere
    return await _answer(jobs, await jobs.get(job_id))


@router.delete(PATH + "/{job_id}", responses=errors(_GONE))
async def cancel(request: Request, job_id: str) -> Response:
    """Cancel a job; one that has ended stays as it is."""
    jobs: Jobs = request.app.state.jobs
    if (elsewhere := await ask_keeper(gateway_of(request), request, tag_in(job_id))) is not None:
        return elsewhere
    return await _answer(jobs, await jobs.cancel(job_id))


async def _answer(jobs: Jobs, record: JobRecord) -> Response:
    content = record.body(await jobs.result(record))
    return Response(content, headers={"cache-control": "no-store"}, media_type="application/json")
