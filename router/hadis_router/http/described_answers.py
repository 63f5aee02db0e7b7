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
_IMAGE = {
    "type": "object",
    "properties": {
        "b64_json": _TEXT | {"description": "The image, in base64."},
        "url": _TEXT | {"description": "Where it is, with `response_format: url`."},
    },
    "minProperties": 1,
}
_MODEL = _object(
    {
        "id": _TEXT | {"description": "The model's name."},
        "object": {"const": "model", "description": "As OpenAI says it."},
        "created": {"type": "integer", "description": "Always 0."},
        "owned_by": _TEXT | {"description": "Always `hadis`."},
        "sizes": {"type": "array", "items": _TEXT, "minItems": 1, "description": "Sizes that it makes."},
        "edits": {"type": ["boolean", "null"], "description": "Whether it edits images; null: not known yet."},
        "inpainting": {"type": ["boolean", "null"], "description": "Whether an edit may have a mask."},
        "edit_images": {"type": ["integer", "null"], "description": "Most images of an edit."},
    }
)
_IMAGES = _object(
    {
        "created": {"type": "integer", "description": "Unix time, seconds."},
        "background": {"const": "opaque", "description": "Every image is opaque."},
        "output_format": {"enum": ["png", "jpeg", "webp"], "description": "As requested."},
        "quality": {
            "enum": ["low", "medium", "high", "xhigh", "max"],
            "description": "As requested, or that of the tier that made it.",
        },
        "data": {"type": "array", "items": _IMAGE, "minItems": 1, "description": "The images."},
    },
    size={"type": "string", "pattern": "^[0-9]+x[0-9]+$", "description": "Of the images, in pixels."},
    hadis={
        "type": "array",
        "items": {"type": "object"},
        "description": "With `explain`, what each image went through.",
    },
)

_JOB = _object(
    {
        "id": _TEXT | {"description": "The job's id."},
        "object": {"const": "image.job", "description": "What this is."},
        "status": _TEXT | {"description": "How far it is."},
        "url": _TEXT | {"description": "Where to ask for it."},
    }
)

JOB: Described = {202: _json("The job that makes the images", _JOB)}
MODEL: Described = {200: _json("The model", _MODEL)}
MODELS: Described = {
    200: _json(
        "The models",
        _object(
            {
                "object": {"const": "list", "description": "As OpenAI says it."},
                "data": {"type": "array", "items": _MODEL, "description": "`auto`, then the tiers, light ones first."},
            }
        ),
    )
}
IMAGES: Described = {200: _json("The images; with `stream`, one event per image", _IMAGES)}
IMAGES[200]["content"]["text/event-stream"] = {}


def errors(by_status: Mapping[int | str, Mapping[str, Any]]) -> Described:
    """Return errors by their status with the form that all of them have, OpenAI's."""
    return {status: _json(answer["description"], _object({"error": _ERROR})) for status, answer in by_status.items()}
