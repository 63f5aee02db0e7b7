"""What the OpenAPI document says of answers, so that clients, and tests that read it, know what to expect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Described = dict[int | str, dict[str, Any]]

_TEXT, _OPTIONAL_TEXT = {"type": "string"}, {"type": ["string", "null"]}


def _object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": required | optional}


def _json(description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_ERROR = _object({"message": _TEXT, "type": _TEXT, "param": _OPTIONAL_TEXT, "code": _TEXT})
_IMAGE = {"type": "object", "properties": {"b64_json": _TEXT, "url": _TEXT}, "minProperties": 1}
_MODEL = _object({
    "id": _TEXT,
    "object": {"const": "model"},
    "created": {"type": "integer"},
    "owned_by": _TEXT,
    "sizes": {"type": "array", "items": _TEXT, "minItems": 1},
    "edits": {"type": ["boolean", "null"]},
    "inpainting": {"type": ["boolean", "null"]},
    "edit_images": {"type": ["integer", "null"]},
})  # fmt: skip
_IMAGES = _object(
    {
        "created": {"type": "integer"},
        "background": {"const": "opaque"},
        "output_format": {"enum": ["png", "jpeg", "webp"]},
        "quality": {"enum": ["low", "medium", "high", "xhigh", "max"]},
        "data": {"type": "array", "items": _IMAGE, "minItems": 1},
    },
    size={"type": "string", "pattern": "^[0-9]+x[0-9]+$"},
    hadis={"type": "array", "items": {"type": "object"}},
)

_JOB = _object({"id": _TEXT, "object": {"const": "image.job"}, "status": _TEXT, "url": _TEXT})

JOB: Described = {202: _json("The job that makes the images", _JOB)}
MODEL: Described = {200: _json("The model", _MODEL)}
MODELS: Described = {
    200: _json("The models", _object({"object": {"const": "list"}, "data": {"type": "array", "items": _MODEL}}))
}
IMAGES: Described = {200: _json("The images; with `stream`, one event per image", _IMAGES)}
IMAGES[200]["content"]["text/event-stream"] = {}


def errors(by_status: Mapping[int | str, Mapping[str, Any]]) -> Described:
    """Return errors by their status with the form that all of them have, OpenAI's."""
    return {status: _json(answer["description"], _object({"error": _ERROR})) for status, answer in by_status.items()}
