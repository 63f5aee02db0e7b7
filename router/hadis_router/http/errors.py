"""HTTP answers of errors: all of them in OpenAI's envelope, and with what its official client reads to retry."""

from __future__ import annotations

import json
import logging

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from hadis_router.dispatch import refusals
from hadis_router.dispatch.answer import ServeError
from hadis_router.http.entrance import REQUEST_ID, request_id_of

log = logging.getLogger(__name__)

_TYPES = {400: "invalid_request_error", 404: "invalid_request_error", 429: "rate_limit_error"}
_MESSAGES = {
    404: "there is nothing at this address; images are made at /v1/images/generations, so a base URL ends in /v1",
    405: "this address does not take this method",
}


def envelope(error: ServeError) -> dict[str, dict[str, str | None]]:
    """Return an error as OpenAI's API writes it."""
    kind = _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}


def error_response(error: ServeError) -> Response:
    """Return the envelope with its status, Retry-After and x-should-retry."""
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.status == 504 or error.code == "invalid":
        # The official client retries every 5xx; these would only fail again, the deadline after its full time.
        headers["x-should-retry"] = "false"
    return Response(json.dumps(envelope(error)), error.status, headers, "application/json")


def _allowed(request: Request, said: str) -> str:
    """Return every method of an address: Starlette says only those of the first route there."""
    path = getattr(request.scope.get("route"), "path", "")
    methods = {method.upper() for method in request.app.openapi()["paths"].get(path, {})}
    return ", ".join(sorted(methods | {name for name in said.split(", ") if name}))


def install(app: FastAPI) -> None:
    """Answer every error of an app in the envelope."""

    async def serve_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, ServeError)
        if error.status == 500:
            log.warning("request %s: %s: %s", request_id_of(request), error.code, error.message)
        return error_response(error)

    async def cut_off(_: Request, error: Exception) -> Response:
        return error_response(refusals.client_gone())

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = _MESSAGES.get(error.status_code, str(error.detail))
        answer = error_response(
            ServeError(error.status_code, "not_found" if error.status_code == 404 else "invalid", message)
        )
        answer.headers.update(error.headers or {})
        if error.status_code == 405:
            answer.headers["allow"] = _allowed(request, answer.headers.get("allow", ""))
        return answer

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        name = str(first["loc"][-1])
        return error_response(ServeError(400, "invalid_value", f"{name}: {first['msg']}", param=name))

    async def any_error(request: Request, error: Exception) -> Response:
        # The server logs the traceback. This answer does not pass the entrance, which is within the server's own edge.
        request_id = request_id_of(request)
        log.error("request %s: the router has a fault: %s: %s", request_id, type(error).__name__, error)
        answer = error_response(ServeError(500, "internal_error", "the router has a fault; its log says which"))
        answer.headers[REQUEST_ID] = request_id
        return answer

    app.add_exception_handler(ServeError, serve_error)
    app.add_exception_handler(ClientDisconnect, cut_off)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, any_error)
