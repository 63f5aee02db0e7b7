"""Multipart forms, read from a whole body: fields, and files."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, parse_options_header

from hadis_router.dispatch.answer import ServeError

_MOST_PARTS, _LONGEST_MESSAGE = 64, 300


@dataclass
class Form:
    """What a form holds, in order."""

    fields: list[tuple[str, bytes]] = field(default_factory=list)
    """As they came: which of them are text, their names say."""
    files: list[tuple[str, bytes]] = field(default_factory=list)


def read_form(content_type: str, body: bytes) -> Form:
    """Return the form in a multipart/form-data body; raise ServeError 400."""
    form, parts = Form(), count(1)
    _, options = parse_options_header(content_type)
    if not (boundary := options.get(b"boundary")):
        raise _wrong("content-type names no boundary; let your client set the header")

    def add_field(part: Field) -> None:
        _check_count(next(parts))
        form.fields.append((text_of(part.field_name), part.value or b""))

    def add_file(part: File) -> None:
        _check_count(next(parts))
        if not part.file_name and not part.size:
            return  # browsers send this for a file that was not chosen
        part.file_object.seek(0)
        form.files.append((text_of(part.field_name), part.file_object.read()))

    config: dict[str, Any] = {"MAX_MEMORY_FILE_SIZE": math.inf}  # a router writes no files
    try:
        parser = FormParser("multipart/form-data", add_field, add_file, boundary=boundary, config=config)
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise _wrong(f"the form cannot be read: {error}"[:_LONGEST_MESSAGE]) from None
    return form


def _check_count(parts: int) -> None:
    if parts > _MOST_PARTS:
        raise _wrong(f"the form has more than {_MOST_PARTS} parts")


def text_of(data: bytes | None) -> str:
    """Return a text of a form; raise ServeError 400 for other bytes."""
    try:
        return (data or b"").decode()
    except UnicodeDecodeError:
        raise _wrong("a field of the form is no UTF-8 text") from None


def _wrong(message: str) -> ServeError:
    return ServeError(400, "invalid_form", message)
