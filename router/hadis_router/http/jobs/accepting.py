"""A job is accepted: 202, and where it is asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from fastapi import Request, Response

from hadis_router.http.access import visitor_of
from hadis_router.http.entrance import request_id_of
from hadis_router.http.front_door import RETRY
from hadis_router.http.gateway import Gateway
from hadis_router.http.image_answers import ignored_headers
from hadis_router.http.image_bodies import HeldBody
from hadis_router.http.jobs.record import JobRequest
from hadis_router.http.jobs.service import Jobs
from hadis_router.http.links.public_url import public_url

log = logging.getLogger(__name__)

_PREFERENCE = "respond-async"


def prefers_job(headers: Mapping[str, str]) -> bool:
    """Return whether a request's `Prefer` (RFC 7240) asks for an answer later."""
    parts = headers.get("prefer", "").replace(";", ",").split(",")
    return _PREFERENCE in (part.strip().lower() for part in parts)


async def accept(request: Request, body: JobRequest, arrived: float, held: HeldBody | None = None) -> Response:
    """Return the answer to a request that becomes a job; `arrived` is loop time, `held` what holds its images."""
    jobs: Jobs = request.app.state.jobs
    gateway: Gateway = request.app.state.gateway
    with gateway.reading():
        base_url = public_url(request)
    body = gateway.models.with_size_made(body)
    visitor, key = visitor_of(request), request.headers.get("idempotency-key")
    record = await jobs.create(
        body,
        visitor.client(body.end_user),
        base_url,
        arrived,
        key,
        batch=visitor.batch,
        retry=bool(request.scope.get(RETRY)),
        held=held,
    )
    log.debug("request %s: it is %s", request_id_of(request), record.id)
    headers = {"location": record.url, **ignored_headers(body)}
    if prefers_job(request.headers):
        headers["preference-applied"] = _PREFERENCE
    return Response(json.dumps(record.document()), 202, headers, "application/json")
