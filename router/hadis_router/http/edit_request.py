"""OpenAI's edits and variations: their requests as they are read, from forms and from JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeVar

from hadis.protocol.worker import LEAST_STRENGTH
from pydantic import AfterValidator, Field, PrivateAttr

from hadis_router.dispatch.edit import EditInputs
from hadis_router.http.forms import read_form, text_of
from hadis_router.http.images import MOST_CHARACTERS, GenerateRequest, Text, says_something
from hadis_router.http.input_images import edit_inputs, embedded, is_image
from hadis_router.http.notations import value_of, values_in
from hadis_router.http.request_body import JSON, invalid, media_type_of, read_fields, validated

_IMAGES = re.compile(r"images?(\[\d{0,2}\])?")
"""The names of image fields: `image` for one, `image[]` for several, and what other clients make of that."""
IMAGE_FIELDS = ("image", "images")
"""Of them, those in JSON."""
_VARIATION_STRENGTH = 0.7


class EditRequest(GenerateRequest):
    """Body of `POST /v1/images/edits`, beside its images."""

    strength: float | None = Field(
        None,
        ge=LEAST_STRENGTH,
        le=1,
        description="How far the image may go from its input: the share of the steps that are made. Default: 0.8, and "
        "1 where a mask, or the image's own transparency, says what is made anew. Tiers that read the input beside "
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

    def with_edit(self, edit: EditInputs | None) -> Self:
        """Return the request with what its images are made from; None: without, for they are made."""
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
    if media_type_of(content_type) == JSON:
        return edit_of(kind, read_fields(body), strict)
    document, images, mask = _from_form(content_type, body)
    return _read(kind, document, images, mask, strict)


def edit_of(kind: type[_Request], fields: Mapping[str, Any], strict: bool) -> _Request:
    """Return the request that the fields of a JSON body are, images among them; raise ServeError 400."""
    given = [fields[name] for name in IMAGE_FIELDS if name in fields]
    listed = [one for value in given for one in (value if isinstance(value, list) else [value])]
    images = [embedded(one, "image" if len(listed) == 1 else f"images.{i}") for i, one in enumerate(listed)]
    mask = fields.get("mask") or None
    document = {name: value for name, value in fields.items() if name not in (*IMAGE_FIELDS, "mask")}
    return _read(kind, document, images, None if mask is None else embedded(mask, "mask"), strict)


def _read(
    kind: type[_Request], document: Mapping[str, Any], images: Sequence[bytes], mask: bytes | None, strict: bool
) -> _Request:
    request = validated(kind, document, strict)
    return request.with_edit(edit_inputs(images, mask, request.strength))


def _from_form(content_type: str, body: bytes) -> tuple[dict[str, Any], list[bytes], bytes | None]:
    form = read_form(content_type, body)
    images, masks = list[bytes](), list[bytes]()
    fields = [(name, _input_in(name, data)) for name, data in form.fields if _is_input(name) and data]
    for name, data in (*form.files, *fields):
        if not _is_input(name):
            raise invalid(name, "is a file; files are image, image[] and mask")
        (masks if name == "mask" else images).append(data)
    if len(masks) > 1:
        raise invalid("mask", "there are several; send one")
    document = _typed((name, text_of(data)) for name, data in form.fields if not _is_input(name))
    return document, images, next(iter(masks), None)


def _input_in(name: str, data: bytes) -> bytes:
    """Return the image in a field that is no file: base64, or a file that its client gave no name."""
    return data if is_image(data) else embedded(text_of(data), name)


_VALUES = values_in(EditRequest.model_fields)


def _is_input(name: str) -> bool:
    return name == "mask" or _IMAGES.fullmatch(name) is not None


def _typed(fields: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return a form's fields as JSON data: numbers and truths are text there. An empty field is absent."""
    return {name: value_of(text) if name in _VALUES else text for name, text in fields if text or name == "prompt"}
