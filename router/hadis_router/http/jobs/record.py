"""A job as it is kept, and as clients see it."""

from __future__ import annotations

import json
import secrets
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationInfo, field_validator

from hadis_router.dispatch.peers import ANY_ROUTER
from hadis_router.http.edit_request import EditRequest, VariationRequest
from hadis_router.http.images import GenerateRequest

PATH = "/v1/hadis/jobs"
Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Kind = Literal["generation", "edit", "variation"]


class JobRequest(GenerateRequest):
    """Body of `POST /v1/hadis/jobs`: that of a generation, and whom to tell of its end."""

    kind: ClassVar[Kind] = "generation"
    webhook: str | None = Field(
        None, max_length=2000, description="URL to notify when the job has ended, where the service allows its host."
    )

    @property
    def saves_images(self) -> bool:
        """Always: with the job's result."""
        return True


class EditJobRequest(EditRequest, JobRequest):
    """Body of a job that edits images, beside these."""

    kind: ClassVar[Kind] = "edit"


class VariationJobRequest(VariationRequest, JobRequest):
    """Body of a job that varies an image, beside this."""

    kind: ClassVar[Kind] = "variation"


_REQUESTS: dict[Kind, type[JobRequest]] = {
    request.kind: request for request in (JobRequest, EditJobRequest, VariationJobRequest)
}


class JobRecord(BaseModel):
    """What is kept of a job, but for its input images and its result."""

    model_config = ConfigDict(frozen=True)

    id: str
    kind: Kind = "generation"
    request: SerializeAsAny[JobRequest]
    client: str
    """The key of the client whose share it is of."""
    batch: bool = False
    """Whether it is of the priority class `batch`."""
    base_url: str
    """By which the client reaches the service."""
    created_at: float
    """Unix time in seconds, as the next."""
    expires_at: float
    status: Status = "queued"
    position: int | None = None
    """Images that are made before its next one; None where none of them waits."""
    progress: float = 0.0
    """0 to 1."""
    error: dict[str, str | None] | None = None
    untold: bool = False
    """Whether it has a webhook that is still to be told of its end."""

    @field_validator("request", mode="before")
    @classmethod
    def _of_its_kind(cls, request: Any, info: ValidationInfo) -> Any:
        return request if isinstance(request, JobRequest) else _REQUESTS[info.data["kind"]].model_validate(request)

    @property
    def ended(self) -> bool:
        """Whether nothing is made for it any more."""
        return self.status not in ("queued", "running")

    @property
    def busy(self) -> bool:
        """Whether something is still to be done for it."""
        return not self.ended or self.untold

    @property
    def url(self) -> str:
        """Where it is asked for."""
        return f"{self.base_url}{PATH}/{self.id}"

    def document(self) -> dict[str, Any]:
        """Return what clients see of it, as JSON data, without its result."""
        return {
            "id": self.id,
            "object": "image.job",
            "status": self.status,
            "position": self.position,
            "progress": round(self.progress, 3),
            "created_at": int(self.created_at),
            "expires_at": int(self.expires_at),
            "url": self.url,
            "error": self.error,
        }

    def body(self, result: bytes | None) -> bytes:
        """Return the document as JSON, with the result's JSON in it, which may be large."""
        return json.dumps(self.document()).encode()[:-1] + b',"result":' + (result or b"null") + b"}"


def new_id(tag: bytes) -> str:
    """Return an id that nobody can guess, with the tag of the router that keeps the job."""
    return f"job_{tag.hex()}{secrets.token_hex(16)}"


def tag_in(job_id: str) -> bytes | None:
    """Return the tag in a job's id; None where every router may have it."""
    try:
        tag = bytes.fromhex(job_id[4:12])
    except ValueError:
        return None
    return tag if tag != ANY_ROUTER else None
