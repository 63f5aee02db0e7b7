"""Azure's way to OpenAI's images API: the model stands in the address, as a deployment, and the key in `api-key`."""

from __future__ import annotations

from typing import TypeVar

from fastapi import Request

from hadis_router.http.images import GenerateRequest

DEPLOYMENTS = "/openai/deployments/"
_NAME = "deployment"
_Request = TypeVar("_Request", bound=GenerateRequest)


def deployment_path(path: str) -> str:
    """Return the address of Azure's for one of OpenAI's: /v1/images/edits has /openai/deployments/NAME/images/edits."""
    return f"{DEPLOYMENTS}{{{_NAME}}}{path.removeprefix('/v1')}"


def with_deployment(request: Request, body: _Request) -> _Request:
    """Return what was sent, with the model that its address names, unless its body names one."""
    name = request.path_params.get(_NAME)
    return body if name is None or "model" in body.model_fields_set else body.model_copy(update={"model": name})
