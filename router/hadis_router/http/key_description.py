"""What the OpenAPI document of a service with API keys says of them: which requests need one."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from hadis_router.http.access import needs_no_key
from hadis_router.http.described_answers import errors

_NAME = "apiKey"
_SCHEME = {"type": "http", "scheme": "bearer", "description": "One of the service's API keys."}
_REFUSED = {"401": errors({401: {"description": "The API key is missing, or unknown"}})[401]}


def install(app: FastAPI) -> None:
    """Have the document say it; it is made when it is first asked for."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        document = describe()
        document.setdefault("components", {})["securitySchemes"] = {_NAME: _SCHEME}
        for path, operations in document["paths"].items():
            if not needs_no_key(path):
                for operation in operations.values():
                    operation["security"] = [{_NAME: []}]
                    operation["responses"] |= _REFUSED
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's way to extend it
