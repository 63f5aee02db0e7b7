"""OpenAI's edits and variations: their requests as they are read, from forms and from JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from hadis.protocol.worker import LEAST_STRENGTH
from pydantic import AfterValidator, Field, PrivateAttr

from hadis_router.dispatch.edit import EditInputs
from hadis_router.http.forms import read_form
from hadis_router.http.images import MOST_CHARACTERS, GenerateRequest, Text, says_something
from hadis_router.http.input_images import edit_inputs, embedded, wrong
from hadis_router.http.request_body import read_fields, validated

_IMAGES = re.compile(r"images?(\[\d{0,2}\])?")
"""The names of image fields: `image` for one, `image[]` for several, and what other clients make of that."""
_VARIATION_STRENGTH = 0.7


class EditRequest(GenerateRequest):
    """Body of `POST /v1/images/edits`, beside its images."""

    strength: float | None = Field(
        None,
        ge=LEAST_STRENGTH,
        le=1,
        description="How far the image may go from its input: the share of the steps that are made. Default: 0.8, and "
        "1 where a mask, or the image's own transparency, says what is made anew. Tiers that look at the input beside "
        "the prompt make all steps.",
    )
    input_fidelity: Literal["high", "low"] | None = Field(None, description="Ignored; write strength.")
    _edit: EditInputs | None = PrivateAttr(None)

    @property
    def edit(self) -> EditInputs | None:
        """What the images are made from."""
        return self._edit

    @property
    def event(self) -> str:
        """How its events in a stream begin."""
        return "image_edit"

    def with_edit(self, edit: EditInputs) -> Self:
        """Return the request with what its images are made from."""
        request = self.model_copy()
        request._edit = edit
        return request


class VariationRequest(EditRequest):
    """Body of `POST /v1/images/variations`, beside its image: an edit by the image alone."""

    prompt: Annotated[Text, AfterValidator(lambda prompt: says_something(prompt) if prompt else "")] = Field(
        "", max_length=MOST_CHARACTERS, description="Beyond OpenAI's fields: what to draw."
    )
    strength: float | None = Field(
        _VARIATION_STRENGTH, ge=LEAST_STRENGTH, le=1, description="How far the image may go from its input."
    )


_Request = TypeVar("_Request", bound=EditRequest)


def read_edit(kind: type[_Request], content_type: str, body: bytes, strict: bool = False) -> _Request:
    """Return the request in a body; raise ServeError 400 that names the field. Takes milliseconds per megabyte.

    `strict` refuses unknown fields.
    """
    if content_type.partition(";")[0].strip().lower() == "application/json":
        document, images, mask = _from_json(body)
    else:
        document, images, mask = _from_form(content_type, body)
    request = validated(kind, document, strict)
    return request.with_edit(edit_inputs(images, mask, request.strength))


def _from_json(body: bytes) -> tuple[dict[str, Any], list[bytes], bytes | None]:
    document = read_fields(body)
    given = [document.pop(name) for name in ("image", "images") if name in document]
    listed = [one for value in given for one in (value if isinstance(value, list) else [value])]
    images = [embedded(one, "image" if len(listed) == 1 else f"images.{i}") for i, one in enumerate(listed)]
    mask = document.pop("mask", None)
    return document, images, None if mask is None else embedded(mask, "mask")


def _from_form(content_type: str, body: bytes) -> tuple[dict[str, Any], list[bytes], bytes | None]:
    form = read_form(content_type, body)
    images, masks = list[bytes](), list[bytes]()
    texts = [(name, embedded(text, name)) for name, text in form.fields if _is_input(name) and text]
    for name, data in (*form.files, *texts):
        if not _is_input(name):
            raise wrong(name, "is a file; files are image, image[] and mask")
        (masks if name == "mask" else images).append(data)
    if len(masks) > 1:
        raise wrong("mask", "there are several; send one")
    return _typed((name, text) for name, text in form.fields if not _is_input(name)), images, next(iter(masks), None)


def _is_value(annotation: Any) -> bool:
    return not {bool, int, float}.isdisjoint((annotation, *get_args(annotation)))


_VALUES = {name for name, field in EditRequest.model_fields.items() if _is_value(field.annotation)}
"""The fields that are numbers or truths: another's text may look like one, and stays text."""


def _is_input(name: str) -> bool:
    return name == "mask" or _IMAGES.fullmatch(name) is not None


def _typed(fields: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return a form's fields as JSON data: numbers and truths are text there. An empty field is absent."""
    return {name: _value(text) if name in _VALUES else text for name, text in fields if text or name == "prompt"}


def _value(text: str) -> Any:
    try:
        value = json.loads(text.lower() if text in ("True", "False") else text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, bool | int | float) else text
